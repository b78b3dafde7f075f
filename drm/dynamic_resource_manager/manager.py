"""The ledger of workers and reservations, and the door to the scaling policy."""

from __future__ import annotations

from collections.abc import Sequence

from drm.dynamic_resource_manager.account import Account, checked
from drm.dynamic_resource_manager.scaling import ScalingCase, evaluate_scaling, is_vote
from drm.dynamic_resource_manager.settings import ScalingSettings
from drm.dynamic_resource_manager.utilization import UNUSED, Utilization, utilization_of
from drm.model.cluster import ClusterSnapshot, QueueView, WorkerState, WorkerType, WorkerView
from drm.model.errors import ConfigError, DuplicateError, UnknownTaskError, UnknownWorkerError
from drm.model.plan import ScalingAction, ScalingDecision
from drm.model.resources import Resources

_NEVER = float("-inf")


class DynamicResourceManager:
    """Knows what every worker has, holds and uses; decides when there should be more or fewer.

    The invariant: what is reserved on a worker never exceeds what is allocatable on
    it, in any amount, and giving everything back restores exactly what was there.
    Reads no clock: ``now_s`` is given, in seconds that only go forward. Every call
    that raises leaves the state as it was.
    """

    def __init__(self, settings: ScalingSettings | None = None) -> None:
        self._settings = settings or ScalingSettings()
        self._accounts: dict[str, Account] = {}
        self._holder: dict[str, Account] = {}
        self._now_s = _NEVER
        self._last_up_s: dict[str, float] = {}
        self._last_down_s: dict[str, float] = {}
        self._votes: dict[str, int] = {}
        self._by_type: dict[str, dict[str, Account]] = {}

    @property
    def settings(self) -> ScalingSettings:
        return self._settings

    def register_worker(
        self,
        worker_id: str,
        *,
        worker_type: str,
        capacity: Resources,
        labels: frozenset[str] = frozenset(),
        now_s: float,
        allocatable: Resources | None = None,
    ) -> None:
        """Open an account for a worker, which is READY from now on.

        ``allocatable`` is the part of ``capacity`` that tests may reserve (default: all).
        DuplicateError if the id is taken, ConfigError for amounts that make no worker.
        """
        if worker_id in self._accounts:
            raise DuplicateError(f"worker {worker_id} is registered already", remedy="deregister it first")
        whole = f"capacity of worker {worker_id}"
        if not any(checked(capacity, whole)):
            raise ConfigError(f"{whole} is nothing", remedy="give it cpu and memory")
        offered = capacity if allocatable is None else allocatable
        checked(offered, f"allocatable of worker {worker_id}")
        if not offered.fits_in(capacity):
            raise ConfigError(
                f"allocatable of worker {worker_id} passes its capacity: {', '.join(offered.lacking(capacity))}"
            )
        account = self._accounts[worker_id] = Account(
            worker_id,
            worker_type=worker_type,
            capacity=capacity,
            allocatable=offered,
            labels=labels,
            now_s=now_s,
            window_s=self._settings.window_s,
        )
        self._by_type.setdefault(worker_type, {})[worker_id] = account
        self._see(now_s)

    def update_worker_resources(
        self, worker_id: str, used: Resources | None = None, *, now_s: float, allocatable: Resources | None = None
    ) -> None:
        """Note what the worker's processes use at present (it may pass what is reserved), and, where given, that tests
        may have another part of the worker from now on.

        CapacityError where less would be left than is reserved, ConfigError for more than its capacity.
        """
        account = self._account(worker_id)
        if used is not None:
            checked(used, f"use of worker {worker_id}")
        if allocatable is not None:
            account.resize(allocatable, now_s)
        if used is not None:
            account.use(used, now_s)
        self._see(now_s)

    def deregister_worker(self, worker_id: str) -> tuple[str, ...]:
        """Close the account; return the ids of the reservations that it still held, oldest first."""
        account = self._account(worker_id)
        del self._accounts[worker_id]
        del self._by_type[account.worker_type][worker_id]
        for reservation_id in account.held:
            del self._holder[reservation_id]
        return tuple(account.held)

    def reserve_resources(
        self, worker_id: str, reservation_id: str, amounts: Resources, *, now_s: float
    ) -> tuple[int, ...]:
        """Set ``amounts`` aside on a READY worker until they are released under the same id; return its gpu devices.

        Asking again for the same thing changes nothing. Errors: CapacityError names
        what lacks, DuplicateError for an id that holds something else, UnknownWorkerError.
        """
        holder = self._holder.get(reservation_id)
        if holder is not None:
            if holder.worker_id == worker_id and holder.held[reservation_id] == amounts:
                return holder.devices_of(reservation_id)
            raise DuplicateError(
                f"reservation {reservation_id!r} holds {holder.held[reservation_id].describe()} on worker "
                f"{holder.worker_id} already",
                remedy="release it first",
            )
        account = self._account(worker_id)
        account.take(reservation_id, amounts, now_s)
        self._holder[reservation_id] = account
        self._see(now_s)
        return account.devices_of(reservation_id)

    def release_resources(self, reservation_id: str, *, now_s: float) -> Resources:
        """Give a reservation back; return its amounts. UnknownTaskError if there is none (or no more)."""
        account = self._holder.pop(reservation_id, None)
        if account is None:
            raise UnknownTaskError(f"no reservation {reservation_id!r} is held")
        self._see(now_s)
        return account.give_back(reservation_id, now_s)

    def check_resource_availability(self, amounts: Resources, labels: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Return the workers, in order of registration, on which the amounts could be reserved now."""
        needed = checked(amounts, "request")
        return tuple(worker_id for worker_id, account in self._accounts.items() if account.fits(needed, labels))

    def get_worker_utilization(self, worker_id: str | None = None) -> Utilization:
        """Return what was reserved and used of one worker (or of all together, by capacity).

        Averaged over the last ``window_s`` seconds up to the latest time any call has told.
        """
        accounts = list(self._accounts.values()) if worker_id is None else [self._account(worker_id)]
        return self._utilization(accounts, self._now_s)

    @staticmethod
    def _utilization(accounts: Sequence[Account], now_s: float) -> Utilization:
        for account in accounts:
            account.meter.advance(now_s)
        return utilization_of((account.allocated, account.meter) for account in accounts)

    def set_worker_state(self, worker_id: str, state: WorkerState, *, now_s: float) -> None:
        """Move a worker on in its life. Its reservations stay; LostError for one that is GONE."""
        self._account(worker_id).become(state, now_s)
        self._see(now_s)

    def free(self, worker_id: str) -> Resources:
        """Return what one reservation could still have of a worker, whatever its state."""
        return self._account(worker_id).free()

    def view(self, worker_id: str) -> WorkerView | None:
        """Return one worker's view, None if it is not registered."""
        account = self._accounts.get(worker_id)
        return account.view() if account is not None else None

    def snapshot(self, now_s: float) -> ClusterSnapshot:
        """Return every worker's view, in order of registration; only changed ones are made anew."""
        return ClusterSnapshot(now_s=now_s, workers=tuple(account.view() for account in self._accounts.values()))

    def evaluate_scaling(
        self,
        worker_type: WorkerType,
        queue: QueueView,
        *,
        now_s: float,
        pending: int,
        minimum: int,
        maximum: int,
        total_workers: int,
        boot_s: float = 0.0,
        pending_s: float | None = None,
        leaving: frozenset[str] = frozenset(),
    ) -> ScalingDecision:
        """Decide how many workers of a type there should be, and why.

        ``queue``: the waiting work meant for this type. ``pending``: workers of it asked
        for and not registered yet. ``minimum``, ``maximum`` and ``total_workers`` (pending
        ones included) are of the whole pool. ``boot_s``, ``pending_s``, ``leaving``: see ``ScalingCase``.
        A decision up or down starts its cooldown.
        """
        name = worker_type.name
        mine = list(self._by_type.get(name, {}).values())
        decision = evaluate_scaling(
            self._settings,
            ScalingCase(
                worker_type=worker_type,
                queue=queue,
                workers=tuple(account.view() for account in mine),
                utilization=self._utilization(mine, now_s) if self._settings.policy == "utilization" else UNUSED,
                pending=pending,
                minimum=minimum,
                maximum=maximum,
                total_workers=total_workers,
                now_s=now_s,
                last_up_s=self._last_up_s.get(name, _NEVER),
                last_down_s=self._last_down_s.get(name, _NEVER),
                boot_s=boot_s,
                pending_s=pending_s,
                votes=self._votes.get(name, 0),
                leaving=leaving,
            ),
        )
        self._votes[name] = self._votes.get(name, 0) + 1 if is_vote(decision) else 0
        if decision.action is ScalingAction.UP:
            if decision.granted - decision.workers > len(decision.keep):
                self._last_up_s[name] = now_s
        elif decision.action is ScalingAction.DOWN:
            self._last_down_s[name] = now_s
        return decision

    def _account(self, worker_id: str) -> Account:
        account = self._accounts.get(worker_id)
        if account is None:
            raise UnknownWorkerError(f"no worker {worker_id!r} is registered")
        return account

    def _see(self, now_s: float) -> None:
        if now_s > self._now_s:
            self._now_s = now_s
