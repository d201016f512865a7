"""`edgedefend verify BUNDLE`."""

from __future__ import annotations

import click

from edgedefend.commands.options import backend_option, threads_option

__all__ = ["verify"]


@click.command()
@click.argument("bundle")
@threads_option
@backend_option
def verify(bundle: str, threads: int | None, backend: str | None) -> None:
    """Check that BUNDLE is whole and answers here as it did on the desktop.

    Every file is hashed again, the model is loaded, and the golden input goes through defence and model.
    """
    from edgedefend.bundle import load_bundle
    from edgedefend.verification import verify_bundle

    loaded = load_bundle(bundle)
    click.echo(f"files      whole, bundle hash {loaded.sha256[:16]}")
    seen = verify_bundle(loaded, threads=threads, backend=backend)
    click.echo(f"defence    {100 * seen.differing_pixels:.3f} % of the golden image's values differ (rounding ties)")
    click.echo(
        f"model      {loaded.model_name} {loaded.precision} on {seen.backend} {seen.backend_version}: "
        f"{seen.label!r} as expected, largest difference {seen.output_error:.3g} (allowed {seen.tolerance:.3g})"
    )
    if seen.partitions is not None:
        click.echo(f"runtime    {seen.partitions}")
    click.echo("verified")
