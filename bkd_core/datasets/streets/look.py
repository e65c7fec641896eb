# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Looks of the generated streets: one of a simulator, and a robot's camera by three lights."""

from __future__ import annotations

from dataclasses import dataclass, replace

Range = tuple[float, float]
Rgb = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Look:
    """
    What one domain's streets, light and camera are drawn from; ranges are (low, high).

    :param name: One of `LOOKS`.
    :param camera_height: Metres above the road.
    :param focal_length: In image widths.
    :param pitch: Degrees, upwards positive.
    :param shake: Standard deviation of pitch and roll from frame to frame, degrees.
    :param distortion: Radial coefficient of the lens; negative is barrel.
    :param vignette: Share of the light that the image's corners lose.
    :param road_half_width: Metres.
    :param sidewalk_width: Metres.
    :param lawn: Probability that a building stands behind a lawn.
    :param floors: Range of the number of storeys.
    :param wall_colors: Colours of facades.
    :param brick: Probability of a brick facade.
    :param gable: Probability of a gabled roof.
    :param lit_windows: Share of windows with light on.
    :param foliage_colors: Colours of crowns.
    :param tree_spacing: Metres between street trees.
    :param paint_colors: Colours of cars.
    :param parked: Probability that a parking place is taken.
    :param traffic: Number of moving cars within sight.
    :param pedestrians: Pedestrians in 30 m of street.
    :param asphalt: Colour of the road.
    :param paving: Colour of the sidewalk.
    :param grain: Strength of the ground's texture, share of its brightness.
    :param grass: Colour of lawns.
    :param cross_street_every: One block in so many has a cross street.
    :param sky_top: Colour of the sky overhead.
    :param sky_horizon: Colour of the sky above the horizon, and of haze.
    :param cloud_color: Colour of clouds.
    :param clouds: Share of the sky that clouds cover.
    :param haze_length: Metres after which haze hides 63 %.
    :param ambient: Light on a face turned away from the sun.
    :param sun: Light that the sun adds.
    :param sun_color: Colour of the sun's light, 1 is neutral.
    :param wetness: How much the road mirrors.
    :param rain: Rain streaks in the image.
    :param has_lamps_on: Lamps and headlights are on.
    :param exposure: Factor on the finished image.
    :param color_gain: Factors on red, green and blue of the finished image.
    :param contrast: Exponent of the finished image's tone curve.
    :param saturation: 0 is grey, 1 unchanged.
    :param noise: Standard deviation of the sensor's noise, grey levels.
    :param blur: Standard deviation of the lens's blur in an image 640 pixels wide.
    """

    name: str
    camera_height: Range
    focal_length: Range
    pitch: Range
    shake: float
    distortion: float
    vignette: float
    road_half_width: Range
    sidewalk_width: Range
    lawn: float
    floors: tuple[int, int]
    wall_colors: tuple[Rgb, ...]
    brick: float
    gable: float
    lit_windows: float
    foliage_colors: tuple[Rgb, ...]
    tree_spacing: Range
    paint_colors: tuple[Rgb, ...]
    parked: float
    traffic: int
    pedestrians: float
    asphalt: Rgb
    paving: Rgb
    grain: float
    grass: Rgb
    cross_street_every: int
    sky_top: Rgb
    sky_horizon: Rgb
    cloud_color: Rgb
    clouds: Range
    haze_length: Range
    ambient: float
    sun: float
    sun_color: tuple[float, float, float]
    wetness: Range
    rain: Range
    has_lamps_on: bool
    exposure: Range
    color_gain: tuple[float, float, float]
    contrast: float
    saturation: float
    noise: float
    blur: float


SOURCE = Look(
    name='source',
    camera_height=(1.45, 1.75), focal_length=(0.72, 0.82), pitch=(-4.0, -2.0),
    shake=0.0, distortion=0.0, vignette=0.0,
    road_half_width=(5.6, 7.2), sidewalk_width=(3.4, 5.2), lawn=0.25, floors=(3, 7),
    wall_colors=(
        (205, 190, 160), (190, 150, 120), (170, 175, 180), (214, 208, 196), (160, 120, 100),
        (196, 172, 110), (150, 165, 175), (220, 200, 180)),
    brick=0.1, gable=0.15, lit_windows=0.0,
    foliage_colors=((70, 130, 45), (85, 145, 50), (55, 115, 55), (105, 150, 60)),
    tree_spacing=(11.0, 18.0),
    paint_colors=(
        (200, 30, 30), (30, 70, 170), (235, 235, 235), (40, 40, 44), (190, 195, 200),
        (235, 180, 30), (40, 120, 70)),
    parked=0.36, traffic=5, pedestrians=6.5,
    asphalt=(98, 98, 102), paving=(168, 162, 152), grain=0.08, grass=(95, 150, 60),
    cross_street_every=4,
    sky_top=(70, 130, 215), sky_horizon=(190, 215, 240), cloud_color=(255, 255, 255),
    clouds=(0.2, 0.5), haze_length=(500.0, 900.0), ambient=0.62, sun=0.45,
    sun_color=(1.04, 1.0, 0.94), wetness=(0.0, 0.0), rain=(0.0, 0.0), has_lamps_on=False,
    exposure=(0.95, 1.08), color_gain=(1.0, 1.0, 1.0), contrast=1.0, saturation=1.1,
    noise=0.0, blur=0.0)

TARGET = Look(
    name='target',
    camera_height=(0.75, 1.0), focal_length=(0.5, 0.58), pitch=(1.0, 4.0),
    shake=0.35, distortion=-0.09, vignette=0.3,
    road_half_width=(4.7, 5.9), sidewalk_width=(2.6, 4.2), lawn=0.45, floors=(2, 4),
    wall_colors=(
        (128, 78, 62), (146, 98, 76), (112, 70, 60), (150, 138, 122), (120, 112, 104),
        (166, 150, 128), (98, 84, 80)),
    brick=0.65, gable=0.75, lit_windows=0.3,
    foliage_colors=((88, 92, 40), (120, 92, 38), (70, 84, 44), (132, 74, 36), (60, 76, 46)),
    tree_spacing=(7.0, 13.0),
    paint_colors=(
        (60, 62, 66), (120, 124, 128), (30, 32, 36), (150, 152, 152), (70, 30, 30),
        (36, 48, 70), (196, 196, 190)),
    parked=0.42, traffic=6, pedestrians=8.0,
    asphalt=(82, 82, 86), paving=(116, 110, 106), grain=0.3, grass=(78, 88, 48),
    cross_street_every=5,
    sky_top=(96, 112, 146), sky_horizon=(232, 196, 164), cloud_color=(142, 130, 138),
    clouds=(0.4, 0.8), haze_length=(110.0, 220.0), ambient=0.8, sun=0.16,
    sun_color=(1.1, 0.97, 0.86), wetness=(0.25, 0.75), rain=(0.0, 1.0), has_lamps_on=True,
    exposure=(0.95, 1.25), color_gain=(1.05, 0.98, 0.93), contrast=1.05, saturation=0.85,
    noise=5.5, blur=0.75)

# The target's streets and camera again, in other light and weather.
NIGHT = replace(
    TARGET, name='night', lit_windows=0.6,
    sky_top=(14, 18, 34), sky_horizon=(46, 46, 60), cloud_color=(36, 36, 46),
    ambient=0.36, sun=0.04, sun_color=(1.2, 0.95, 0.7), wetness=(0.1, 0.6), rain=(0.0, 0.4),
    exposure=(0.95, 1.2), color_gain=(1.1, 0.97, 0.82), saturation=0.75, noise=9.0)

FOG = replace(
    TARGET, name='fog',
    sky_top=(186, 190, 194), sky_horizon=(202, 205, 207), cloud_color=(196, 199, 202),
    clouds=(0.8, 1.0), haze_length=(26.0, 48.0), ambient=0.9, sun=0.05, sun_color=(1.0, 1.0, 1.0),
    wetness=(0.1, 0.4), rain=(0.0, 0.0), color_gain=(0.98, 1.0, 1.02), contrast=0.95,
    saturation=0.6, noise=4.0)

LOOKS = {look.name: look for look in (SOURCE, TARGET, NIGHT, FOG)}
