"""Shows how far the answers of other runtimes lie from those of Keras."""

import pytest

ROWS = pytest.StashKey[list[tuple[str, str, float, float]]]()


def pytest_configure(config):
    config.stash[ROWS] = []


@pytest.fixture(scope="session")
def rows(pytestconfig):
    """Runtime, file, largest deviation of the logits, share of equal best classes."""
    return pytestconfig.stash[ROWS]


def pytest_terminal_summary(terminalreporter, config):
    if not config.stash[ROWS]:
        return
    terminalreporter.section("answers of other runtimes, compared with Keras")
    terminalreporter.line("| runtime | file | logits | same best class |")
    terminalreporter.line("|---|---|---|---|")
    for runtime, file, deviation, same in config.stash[ROWS]:
        terminalreporter.line(f"| {runtime} | {file} | {deviation:.1e} | {same:.0%} |")
