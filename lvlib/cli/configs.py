"""lvlib configs: the table of configurations."""

from lvlib.cli.arguments import Parser


def main(arguments: list[str]) -> None:
    Parser("lvlib configs", description="List the named configurations.").parse_args(arguments)
    from lvlib.configs import CONFIGS

    rows = [("name", "from", "what it is"), *((name, c.source, c.description) for name, c in CONFIGS.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for name, source, description in rows:
        print(f"{name:{widths[0]}}  {source:{widths[1]}}  {description}")
