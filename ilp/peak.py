"""x"""


def improve_peak(best):
    return
