// Set the page's version to the newest that the server has sent, once the one before is drawn.
// This function is called when the page is there, and whenever a version has been drawn. A page that
// is hidden stops listening, and costs nothing.
() => {
  // A page that is drawn slowly, or of a store that changes often, skips versions.
  const pause = 300, patience = 10000;
  const news = window.news ??= {latest: null, shown: null, busy: false};
  const free = () => { news.busy = false; news.next(); };
  if (!news.next) {
    news.next = () => {
      if (news.busy || news.latest === news.shown) return;
      news.busy = true;
      news.shown = news.latest;
      dash_clientside.set_props('version', {data: news.shown});
      news.timer = setTimeout(free, patience);
    };
    let source = null;
    const listen = () => {
      source?.close();
      source = document.hidden ? null : new EventSource('events');
      if (source) source.onmessage = event => { news.latest = event.data; news.next(); };
    };
    document.addEventListener('visibilitychange', listen);
    listen();
  } else if (news.busy) {
    clearTimeout(news.timer);
    news.timer = setTimeout(free, pause);
  }
  return dash_clientside.no_update;
}
