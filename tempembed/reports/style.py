"""How our HTML pages look."""

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b2630}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}p{max-width:46rem}
table{border-collapse:collapse;font-size:.87rem;width:100%}th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid #d9e0e6}
th:first-child,td:first-child{text-align:left}th{border-bottom:2px solid #1b2630}td.best{font-weight:700}
svg{max-width:100%;height:auto}.note{color:#5a6772;font-size:.87rem}.failed{color:#a3212f}
"""
