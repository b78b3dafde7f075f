"""``drm catalog``: what types of machines clouds have, and what they cost."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from drm.cloud_provider_manager.catalogue import Catalogue, built_in, read_catalogue
from drm.cloud_provider_manager.providers.aws_calls import Ec2
from drm.cloud_provider_manager.providers.aws_catalogue import SOURCES as AWS_SOURCES
from drm.cloud_provider_manager.providers.aws_catalogue import aws_prices, aws_sizes
from drm.cloud_provider_manager.providers.gcp_calls import Compute
from drm.cloud_provider_manager.providers.gcp_catalogue import SOURCES as GCP_SOURCES
from drm.cloud_provider_manager.providers.gcp_catalogue import gcp_prices, gcp_sizes
from drm.cloud_provider_manager.refreshing import assembled, written
from drm.command_line import USAGE_ERROR, Parser
from drm.model.errors import ConfigError, DrmError

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run ``drm catalog ARGUMENTS``; return the exit code: 0, 4 for usage, credentials and what a cloud refuses."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.error("say what to do: refresh")
    if bool(options.aws) == bool(options.gcp):
        parser.error("name one cloud: --aws REGION (as often as wanted), or --gcp PROJECT with --zone")
    if options.gcp and not options.zone:
        parser.error("--gcp needs --zone, as often as wanted")
    try:
        catalogue = _of_aws(options) if options.aws else _of_gcp(options)
        path = options.output or Path(f"{catalogue.provider}-{catalogue.as_of}.json")
        _write(path, written(catalogue))
    except DrmError as error:
        print(f"drm: {error}", file=sys.stderr)
        return USAGE_ERROR
    regions = {region for each in catalogue.types for region in each.on_demand}
    print(f"{path}: {len(catalogue.types)} types in {len(regions)} regions, prices of {catalogue.as_of}")
    missing = [name for name in _names(options) if name not in {each.name for each in catalogue.types}]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        print(f"drm: left out, because a size or a price is not told: {shown}", file=sys.stderr)
    return 0


def _names(options: argparse.Namespace) -> list[str]:
    """Return the types that are asked for: those named, else those of the newest catalogue that is there."""
    if options.type:
        return list(dict.fromkeys(options.type))
    return [each.name for each in built_in("aws" if options.aws else "gcp").types]


def _of_aws(options: argparse.Namespace) -> Catalogue:
    names, regions = _names(options), list(dict.fromkeys(options.aws))
    sizes, prices = [], []
    for region in regions:
        ec2 = Ec2(provider="aws", region=region, endpoint_url=options.endpoint, prices_url=options.prices_endpoint)
        known = aws_sizes(ec2, names)
        sizes += known
        prices += aws_prices(ec2, region, [each.name for each in known]) if known else []
    sizes.sort(key=lambda each: names.index(each.name))
    return assembled("aws", datetime.now(UTC).date(), AWS_SOURCES, sizes, prices)


def _of_gcp(options: argparse.Namespace) -> Catalogue:
    compute = Compute(provider="gcp", project=options.gcp, endpoint=options.endpoint, billing=options.prices_endpoint)
    zones, names = list(dict.fromkeys(options.zone)), _names(options)
    sizes = sorted(gcp_sizes(compute, zones, names), key=lambda each: names.index(each.name))
    return assembled("gcp", datetime.now(UTC).date(), GCP_SOURCES, sizes, gcp_prices(compute, zones, sizes))


def _write(path: Path, text: str) -> None:
    """Write the file whole or not at all, and only what can be read back."""
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        try:
            read_catalogue(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror})", remedy="give another --output") from None


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="drm catalog", description="What types of machines clouds have, and what they cost.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    refresh = commands.add_parser(
        "refresh",
        help="write a catalogue with today's sizes and prices",
        description="Ask a cloud for sizes and prices, and write them as a catalogue (docs/clouds.md has its format).",
    )
    refresh.add_argument("--aws", metavar="REGION", action="append", default=[], help="of EC2 in this region")
    refresh.add_argument("--gcp", metavar="PROJECT", default="", help="of Compute Engine, as this project sees it")
    refresh.add_argument("--zone", metavar="ZONE", action="append", default=[], help="with --gcp: in this zone")
    refresh.add_argument(
        "--type", metavar="NAME", action="append", default=[], help="this type (default: those that DRM comes with)"
    )
    refresh.add_argument("--output", metavar="FILE", type=Path, help="(default: PROVIDER-DAY.json)")
    refresh.add_argument("--endpoint", metavar="URL", default="", help="where the API is, if not at its own address")
    refresh.add_argument("--prices-endpoint", metavar="URL", default="", help="where prices are, if not at their own")
    return parser
