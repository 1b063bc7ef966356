"""What a sync could not settle by itself: listed for people, and settled by what they say.

A new kind of it gets a module here and a command beside ``sync conflicts``.
"""
