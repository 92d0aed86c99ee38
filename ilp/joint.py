"""x"""


def improve_jointly(best):
    return
