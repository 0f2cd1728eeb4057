"""SQL over a store's tables: `nas-sweep query`.

Read `engine` first: it answers a query. `catalog` lists the tables and views that a query can name,
`formats` writes answers.
"""
