"""The arguments of `recipes train` that say which devices train, and what they stand for."""


def add_to(command) -> None:
    """Add them to a command of `argparse`."""
    command.add_argument(
        "--strategy",
        choices=("none", "mirrored", "multiworker"),
        default="none",
        help="train on one device, on all of this machine, or on those of all machines that the "
        "environment variable TF_CONFIG names (default: none)",
    )
    command.add_argument(
        "--connect-seconds",
        type=float,
        default=300.0,
        metavar="N",
        help="wait so long for the other machines (default: 300)",
    )


def devices(options):
    """Return the devices that parsed options name; with several machines, once all are there."""
    from recipes.distributed.devices import open_devices

    # The recipe of a run that goes on is the chief's; any other is compared before training.
    facts = {"command": "train --resume" if options.resume else "train"}
    return open_devices(options.strategy, connect_seconds=options.connect_seconds, facts=facts)
