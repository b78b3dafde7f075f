"""The Ray engine: workers on many machines. Ray brings membership, actors and transport, and decides nothing.

Needs the extra ``ray``; nothing here imports Ray before a function that needs it is called.
"""
