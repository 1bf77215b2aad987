def handle(data: list[object], context: object) -> list[object]:
    return data
