// A browser draws few 3-D scenes at a time, so a figure becomes interactive when it is asked for.
for (const details of document.querySelectorAll("figure.drawn > details")) {
  const show = () => {
    if (!details.open || details.dataset.shown) return;
    details.dataset.shown = "yes";
    const { page, json, width, height } = details.dataset;
    if (page) {
      const frame = document.createElement("iframe");
      Object.assign(frame, { src: page, width: +width + 10, height: +height + 42 });
      details.append(frame);
    } else {
      const place = document.createElement("div");
      details.append(place);
      const figure = JSON.parse(document.getElementById(json).textContent);
      Plotly.newPlot(place, figure.data, figure.layout, CONFIG);
    }
  };
  details.addEventListener("toggle", show);
  show();
}
