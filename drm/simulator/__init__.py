"""Runs in virtual time: the real coordinator and components, with workers and tests that are played.

``simulate(scenario)`` takes seconds for hours of work; the same scenario gives the same bytes.
"""

from __future__ import annotations

from drm.simulator.run import Simulation, simulate
from drm.simulator.scenario import Scenario
from drm.simulator.scenario_file import read_scenario, scenario_of
from drm.simulator.tally import Result
from drm.simulator.text import result_lines

__all__ = ["Result", "Scenario", "Simulation", "read_scenario", "result_lines", "scenario_of", "simulate"]
