"""Run of a plan: searches, and measurements of triggers on held-out images."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from nc_tf.detection.inconclusive import WORTH_TELLING, Limit, limit_of_patch
from nc_tf.detection.patches import probe
from nc_tf.detection.rises import RiseVerdict
from nc_tf.detection.source_specific import candidates
from nc_tf.errors import InputError
from nc_tf.evaluation import Attacked
from nc_tf.inversion.loop import result_of
from nc_tf.inversion.restart import Checkpoint, Restart, RestartResult
from nc_tf.results import ChangeResult, LabelResult, SourceResult, Status, Trigger, UntargetedResult
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.changes import CHANGES, search_changes
from nc_tf.scanning.halving import SuccessiveHalving, random_restart
from nc_tf.scanning.hardened import search_hardened
from nc_tf.scanning.measuring import Measuring
from nc_tf.scanning.memory_plan import SearchPlan
from nc_tf.scanning.plan import ScanPlan
from nc_tf.scanning.prescreening import Prescreening, PrescreeningSettings, Shortlist
from nc_tf.scanning.sources import SourceSearch, SourceSettings
from nc_tf.scanning.state import ScanState, fitting
from nc_tf.scanning.untargeted import UntargetedSettings, search_untargeted


@dataclass(frozen=True, eq=False)
class Found:
    """Outcome of a run.

    Attributes:
        labels: results, in the order of their labels.
        limits: reasons for which the verdict may say less than the norms do, those of the plan among them.
        shortlist: outcome of the pre-screening, if there was one.
        untargeted: outcome of the untargeted search, if there was one.
        rises: judgement of the search on a hardened twin, if there was one.
        changes: results of the searches for a change of the whole image, by detector and label.
        sources: results of the search for a trigger of one class alone, by class.
        sources_open: why none of them was searched again on a hardened twin; None where they were.
    """

    labels: tuple[LabelResult, ...]
    limits: tuple[Limit, ...]
    shortlist: Shortlist | None = None
    untargeted: UntargetedResult | None = None
    rises: RiseVerdict | None = None
    changes: tuple[ChangeResult, ...] = ()
    sources: tuple[SourceResult, ...] | None = None
    sources_open: str | None = None


class ScanRun:
    """One run of a plan, from wherever an earlier part of it was stopped.

    Attributes:
        plan: what is searched, and how.
        done: results of finished labels, by label.
        shortlist: outcome of the pre-screening, as soon as there is one.
    """

    def __init__(self, plan: ScanPlan, state: ScanState, callback: ScanCallback) -> None:
        """Check what is left of an earlier part.

        Args:
            plan: what is searched, and how.
            state: what an earlier part has come to.
            callback: receives every event.

        Raises:
            InputError: a finished label of `state` cannot be of this plan.
        """
        self.plan, self.callback = plan, callback
        self._before = fitting(state, plan.task.space, plan.task.settings, plan.preset.starts, plan.held_out.labels, plan.preset.ranking)
        self.done = {label: result for label, result in self._before.finished.items() if label in plan.targets}
        kept = self._before.shortlist
        # An earlier part may have been asked for other labels.
        self.shortlist = kept if kept and plan.prescreens and kept.is_of(plan.targets) else None
        self.measuring = Measuring(plan.task, plan.held_out.images, plan.held_out.labels)
        self._patches: dict[int, Trigger] = {}

    def search(self) -> Found:
        """Run every search that is left, and return what was found.

        Raises:
            InputError: the engine cannot go on, or the model answers NaN before it has seen a trigger.
        """
        plan = self.plan
        waiting = self._waiting()
        self.callback.on_resume([self.done[label] for label in sorted(self.done)])
        if plan.memory is None:
            self.callback.on_begin(plan.task.network, 0, plan.preset.starts, plan.task.settings.max_rounds, 0)
            shape = plan.task.images.shape[1:]
            return Found(tuple(_not_searched(label, shape) for label in sorted(plan.targets)), plan.limits)
        self.callback.on_plan(plan.memory)
        max_rounds, in_flight = plan.task.settings.max_rounds, plan.memory.in_flight
        self.callback.on_begin(plan.task.network, len(waiting), plan.preset.starts, max_rounds, in_flight)
        self.measuring.clean_answers  # noqa: B018 - refuses a model that answers NaN before hours of searching
        if plan.tries_patches:
            self._patches = probe(self.measuring.answers, plan.held_out.images, plan.held_out.labels)
        if plan.preset.ranking and plan.prescreens and self.shortlist is None:
            self.shortlist = self._prescreen(plan.preset.ranking, plan.memory)
            self.callback.on_ranked(self.shortlist)
            waiting = self._waiting()
        # Pre-screening may have passed over a label that a patch reaches.
        waiting += [label for label in sorted(self._patches) if label in plan.targets and label not in self.done and label not in waiting]
        self._search_in_full(waiting, plan.memory)
        labels = tuple(self.done[label] for label in sorted(self.done))
        all_to_all = plan.preset.untargeted if "all-to-all" in plan.detectors else None
        untargeted = self._search_untargeted(all_to_all, plan.memory) if all_to_all else None
        rises = self._search_hardened(labels, plan.memory) if "hardening" in plan.detectors else None
        changes = [change for name in plan.detectors if name in CHANGES for change in self._search_changes(name, plan.memory)]
        by_source = plan.preset.sources if "source-specific" in plan.detectors else None
        sources, problem = self._search_sources(by_source, plan.memory) if by_source else (None, None)
        limits = (*plan.limits, *self._limits_of_patches())
        return Found(labels, limits, self.shortlist, untargeted, rises, tuple(changes), sources, problem)

    def _waiting(self) -> list[int]:
        labels = self.shortlist.chosen if self.shortlist else self.plan.targets
        return [label for label in labels if label not in self.done]

    def _restart(self, label: int, start: int) -> Restart:
        return random_restart(self.plan.task.space, label, start, self.plan.options.seed, grey=self.plan.preset.grey)

    def _prescreen(self, settings: PrescreeningSettings, memory: SearchPlan) -> Shortlist:
        """Search every label a little, and return the shortlist."""
        plan = self.plan
        lanes = max(1, min(settings.lanes // plan.frames, memory.in_flight // (settings.search.batch_size * plan.frames)))
        ranking = Prescreening(plan.targets, self._restart, settings, plan.options.seed, known=self._before.ranking)
        task = plan.task.changed(settings=settings.search)
        with closing(plan.engine(task, ranking, lanes=lanes, on_round=lambda *_: None)) as reached:
            for progress in reached:
                compared = ranking.take(progress)
                if compared is not None:
                    self.callback.on_ranking(compared, ranking.share)
        return ranking.shortlist

    def _search_in_full(self, labels: Sequence[int], memory: SearchPlan) -> None:
        """Search labels to the end, by successive halving of their restarts."""
        plan = self.plan
        known = [progress for progress in self._before.under_way if progress.label in labels]
        race = SuccessiveHalving(labels, self._restart, plan.preset.starts, plan.task.settings, cuts=plan.preset.cuts, known=known)
        # An earlier part may have searched a label to its end without saving the result.
        for restarts in race.finished():
            self._settle(restarts)
        with closing(plan.engine(plan.task, race, lanes=memory.lanes, on_round=self.callback.on_round)) as reached:
            for progress in reached:
                self.callback.on_leg(progress)
                race.take(progress)
                for restarts in race.finished():
                    self._settle(restarts)

    def _search_untargeted(self, settings: UntargetedSettings, memory: SearchPlan) -> UntargetedResult:
        """Search a trigger that takes every class away from itself."""
        before = self._before.untargeted
        if before is not None and len(before.trigger.targets) == self.plan.task.network.num_classes:
            return before
        self.callback.on_stage("searching what takes every class away")
        found = search_untargeted(self.plan.task, settings, self.plan.engine, memory.in_flight, self.measuring)
        self.callback.on_untargeted(found)
        return found

    def _search_hardened(self, labels: Sequence[LabelResult], memory: SearchPlan) -> RiseVerdict:
        """Search all labels again, on a twin that ignores their triggers."""
        plan = self.plan
        self.callback.on_stage("searching labels again on a hardened twin")
        try:
            return search_hardened(self.measuring, labels, plan.preset.cuts, plan.engine, lanes=memory.lanes, grey=plan.preset.grey)
        except InputError as error:  # all labels have been searched: their results stand
            return RiseVerdict((), (f"the model could not be hardened ({error})",), float("nan"))

    def _search_sources(self, settings: SourceSettings, memory: SearchPlan) -> tuple[tuple[SourceResult, ...], str | None]:
        """Search a trigger for every class alone, and small ones again on a hardened twin; return why that was not possible, or None."""
        search = SourceSearch(self.plan.task, settings, self.plan.engine, memory.in_flight, self.measuring)
        found = {result.source: result for result in self._before.sources if result.source in search.sources}
        self.callback.on_stage("searching a trigger for every class alone")
        for result in search.first([source for source in search.sources if source not in found]):
            found[result.source] = result
            self.callback.on_source(result)
        results = [found[source] for source in search.sources]
        if all(found[source].again for source in candidates(results)):
            return tuple(results), None
        self.callback.on_stage("searching the smallest of them again on a hardened twin")
        try:
            again = search.again(results)
        except InputError as error:  # the triggers stand, but not what they mean
            return tuple(results), f"the model could not be hardened ({error})"
        for result in again:
            self.callback.on_source(result)
        return tuple(again), None

    def _search_changes(self, detector: str, memory: SearchPlan) -> list[ChangeResult]:
        """Search a change of the whole image for every label, and return them by label."""
        plan = self.plan
        found = [change for change in self._before.changes if change.detector == detector and change.label in plan.targets]
        left = sorted(set(plan.targets) - {change.label for change in found})
        if left:
            self.callback.on_stage(f"searching a {detector} for every label")
        for change in search_changes(plan.task, detector, left, plan.engine, memory.in_flight, self.measuring):
            self.callback.on_change(change)
            found.append(change)
        return sorted(found, key=lambda change: change.label)

    def _settle(self, restarts: Sequence[Checkpoint]) -> None:
        """Measure a finished label's best trigger on held-out images, and report it."""
        plan = self.plan
        tried = [result_of(plan.task.inversion, self._restart(one.label, one.start), one) for one in restarts]
        chosen = best_of(tried, self.measuring.success if plan.options.best == "success" else None)
        result = self.measuring.result(tried, chosen, self._smaller_patch(chosen))
        self.done[result.label] = result
        self.callback.on_label(result, tried)

    def _smaller_patch(self, found: RestartResult) -> tuple[Trigger, Attacked] | None:
        """Return the patch of a label that is better than its trigger.

        It is smaller than the trigger found, and works on held-out images.
        """
        patch = self._patches.get(found.restart.label)
        if patch is None or (found.succeeded and found.trigger.l1_norm <= patch.l1_norm):
            return None
        measured = self.measuring.attacked(patch)
        moved = measured.success - self.measuring.without(patch)
        return (patch, measured) if measured.success >= self.plan.task.settings.cost.threshold and moved >= WORTH_TELLING else None

    def _limits_of_patches(self) -> list[Limit]:
        """Return a limit for each label that only a patch reaches.

        Its own search found no trigger as small as the patch.

        Measured at the end, so that a stopped scan comes to the same.
        """
        limits = []
        for label, patch in self._patches.items():
            entry = self.done.get(label)
            if entry and not entry.by_patch and (not entry.succeeded or patch.l1_norm < entry.trigger.l1_norm):
                rate = self.measuring.attacked(patch).success
                if rate - entry.zero_trigger_rate >= WORTH_TELLING:
                    limits.append(limit_of_patch(patch, rate, self.plan.unit))
        return limits


def best_of(starts: Sequence[RestartResult], success: Callable[[RestartResult], float] | None = None) -> RestartResult:
    """Return the restart whose trigger counts for its label.

    Args:
        starts: all restarts of the label.
        success: success rate on held-out images; if given, the greatest counts, and of equals the smallest trigger.

    Returns:
        The smallest working trigger; where none works, the first restart's last one.
    """
    working = [result for result in starts if result.succeeded]
    if not working:
        return min(starts, key=lambda result: result.restart.start)
    return min(working, key=lambda result: (-success(result) if success else 0.0, result.trigger.l1_norm))


def _not_searched(label: int, image_shape: Sequence[int]) -> LabelResult:
    """Return the result of a label that was not searched."""
    mask, pattern = np.zeros(tuple(image_shape[-3:-1]), np.float32), np.zeros(tuple(image_shape[-3:]), np.float32)
    return LabelResult(Trigger(label, mask, pattern), Status.NEVER_SUCCEEDED, float("nan"), float("nan"), starts=0, rounds=0)
