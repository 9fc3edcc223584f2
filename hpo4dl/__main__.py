"""`python -m hpo4dl`: the command line."""

from .errors import MissingPartError

if __name__ == '__main__':
    try:
        from .tools.cli import main
    except MissingPartError as error:
        raise SystemExit(f'hpo4dl: {error}') from None
    raise SystemExit(main())
