"""What pages and pictures show: fields, charges, potentials as they are computed elsewhere; pages that need nothing."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import ase.build
import matplotlib.image
import numpy as np
import places
import pytest

import orbdens
from orbdens.density import Density
from orbdens.errors import UserError
from orbdens.grid import Grid
from orbdens.grid_density import GridDensity
from orbdens.labels import stored_density
from orbdens.observables.hirshfeld import hirshfeld
from orbdens.observables.partition import Quadrature
from orbdens.observables.potential import potential
from orbdens.store import open_store
from orbdens.structure import Structure
from orbdens.units import KCAL_PER_MOL
from orbdens.viewing import picture, scene
from orbdens.viewing.scene import Scene

VIEWING = places.ROOT / "orbdens" / "viewing"


@pytest.fixture(scope="module")
def water() -> Density:
    return orbdens.predict(ase.build.molecule("H2O"))


@pytest.fixture(scope="module")
def seen(water: Density) -> Scene:
    return Scene.of(water, "water")


def content(page: str) -> dict[str, object]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="scene">(.*?)</script>', page)
    assert found
    values: dict[str, object] = json.loads(found[1])
    return values


def test_fields_are_those_at_the_places_of_the_grid(water: Density, seen: Scene) -> None:
    index = np.random.default_rng(0).integers(0, np.array(seen.grid.shape) // 2, size=(40, 3)) * 2
    points = seen.grid.origin + index @ seen.grid.steps
    np.testing.assert_allclose(seen.fields["density"][tuple(index.T)], water.at(points), rtol=1e-4, atol=1e-7)
    assert seen.potential is not None
    here = seen.potential[tuple((index // 2).T)]
    drawn = here != 0
    assert drawn.sum() > 3
    np.testing.assert_allclose(here[drawn], KCAL_PER_MOL * potential(water, points)[drawn], rtol=1e-4)
    nearest = np.rint(seen.positions / seen.spacing).astype(int)
    assert (seen.fields["density"][tuple(nearest[1:].T)] > 1).all()  # hydrogen is where it is said to be
    plane = seen.positions[:, 2] - (seen.grid.shape[2] - 1) / 2 * seen.spacing
    np.testing.assert_allclose(plane, 0, atol=1e-6)  # and the molecule in the plane that is cut first


def test_charges_are_hirshfelds(water: Density, seen: Scene) -> None:
    assert seen.charges is not None
    np.testing.assert_allclose(seen.charges, hirshfeld(Quadrature.of_whole(water)).charges, atol=0.015)
    assert seen.charges.sum() == pytest.approx(0, abs=2e-3)


def test_charges_of_all_electrons_are_hirshfelds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(places.TESTS / "published" / "critical_points" / "h2o"))
    density = stored_density(store, next(iter(store.keys())))
    monkeypatch.setattr(scene, "MOST_POINTS", 5000)
    found = Scene.of(density, "water")
    assert found.kind == "all-electron"
    assert found.charges is not None
    np.testing.assert_allclose(found.charges, [-0.32, 0.16, 0.16], atol=0.02)


def test_a_page_needs_nothing_and_holds_the_fields(water: Density) -> None:
    hostile = "</script><b>&"
    page = orbdens.view(water, "potential", hostile).html()
    assert hostile not in page
    assert "&lt;/script&gt;&lt;b&gt;&amp;" in page
    assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]|<img|@import|url\(|fetch\(|import\(", page)
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:,"]
    assert not re.search(r"\{[a-z_]+\}(?![^\n]*`)", page[: page.index("<style>")])
    assert len(page) < 15e6
    found = content(page)
    assert found["show"] == "potential"
    assert found["shows"] == ["density", "potential", "deformation"]
    fields, shape = found["fields"], found["shape"]
    assert isinstance(fields, dict)
    values = np.frombuffer(base64.b64decode(fields["density"]), "<f2").astype(float).reshape(shape)  # type: ignore[arg-type]
    exact = Scene.of(water, "x").fields["density"]
    np.testing.assert_allclose(values, exact, rtol=1e-3, atol=1e-6)
    assert found["bonds"] == [[0, 1], [0, 2]]


def test_a_notebook_shows_the_page(water: Density) -> None:
    frame = orbdens.view(water)._repr_html_()
    assert frame.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert frame.count('"') == 4  # nothing of the page ends the attribute


def test_grids_of_large_molecules_stay_small(monkeypatch: pytest.MonkeyPatch, water: Density) -> None:
    monkeypatch.setattr(scene, "MOST_POINTS", 5000)
    grid = Scene.of(water, "x").grid
    assert 3000 < grid.n_points < 9000
    assert all(n % 2 for n in grid.shape)


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the page's script")
def test_surfaces_of_the_page_are_closed_and_point_outward(tmp_path: Path) -> None:
    script = (
        (VIEWING / "shapes.js").read_text()
        + """
    const n = 31, values = new Float32Array(n ** 3);
    for (let x = 0; x < n; x++) for (let y = 0; y < n; y++) for (let z = 0; z < n; z++)
      values[(x * n + y) * n + z] = Math.exp(-0.02 * ((x - 15) ** 2 + (y - 15) ** 2 + (z - 15) ** 2));
    const field = new Field(values, [n, n, n], 0.1), out = [];
    for (const [f, sign] of [[field, 1], [new Field(values.map((v) => -v), [n, n, n], 0.1), -1]]) {
      const { places, normals, triangles } = surface(f, 0.3, sign), edges = new Set();
      const at = (i) => [0, 1, 2].map((a) => places[3 * i + a] - 1.5);
      let volume = 0, worst = 0, inward = 0;
      for (let t = 0; t < triangles.length; t += 3) {
        const [i, j, k] = triangles.slice(t, t + 3), [a, b, c] = [at(i), at(j), at(k)];
        volume += a.reduce((sum, v, m) => sum + v * cross(b, c)[m], 0) / 6;
        for (const [p, q] of [[i, j], [j, k], [k, i]]) edges.add(Math.min(p, q) + "-" + Math.max(p, q));
      }
      for (let i = 0; i < places.length / 3; i++) {
        worst = Math.max(worst, Math.abs(Math.hypot(...at(i)) - 0.1 * Math.sqrt(-Math.log(0.3) / 0.02)));
        if (at(i).reduce((sum, v, m) => sum + v * normals[3 * i + m], 0) < 0) inward++;
      }
      out.push({ euler: places.length / 3 - edges.size + triangles.length / 3, volume, worst, inward });
    }
    const half = new Uint8Array(new Uint16Array([0x3c00, 0xc000, 0x0001, 0x3555]).buffer);
    console.log(JSON.stringify({ out, half: Array.from(halfToFloat(half)) }));
    """
    )
    (tmp_path / "run.js").write_text(script)
    done = subprocess.run(["node", str(tmp_path / "run.js")], capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    radius = 0.1 * np.sqrt(-np.log(0.3) / 0.02)
    for mesh in found["out"]:
        assert mesh["euler"] == 2
        assert mesh["worst"] < 0.002
        assert mesh["inward"] == 0
        assert mesh["volume"] == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)
    np.testing.assert_allclose(found["half"], [1, -2, 2.0**-24, 0.33325195], rtol=1e-6)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser")
def test_a_browser_opens_the_page_without_an_error(water: Density, tmp_path: Path) -> None:
    orbdens.view(water, "potential").save(tmp_path / "water.html")
    options = ["--headless", "--no-sandbox", "--enable-unsafe-swiftshader", "--enable-logging=stderr"]
    options += ["--window-size=400,900", "--virtual-time-budget=1500", f"--user-data-dir={tmp_path / 'profile'}"]
    command = ["chromium", *options, "--dump-dom", (tmp_path / "water.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert 'data-ready="yes"' in done.stdout[:1000]
    assert "kcal/mol per e" in done.stdout
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line and "GL Driver Message" not in line]


def test_a_picture_shows_where_the_potential_is_negative(
    seen: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "WIDTH", 200)
    monkeypatch.setattr(picture, "HEIGHT", 150)
    images = {}
    for show in ("potential", "deformation", "density"):
        orbdens.viewing.View(seen, show).save(tmp_path / "x.png")  # type: ignore[arg-type]
        images[show] = matplotlib.image.imread(tmp_path / "x.png")[..., :3]
    red = {show: (image[..., 0] > image[..., 2] + 0.2).mean() for show, image in images.items()}
    blue = {show: (image[..., 2] > image[..., 0] + 0.2).mean() for show, image in images.items()}
    assert red["potential"] > 0.02 and blue["potential"] > 0.02
    assert red["deformation"] > 0.01 and blue["deformation"] > 0.005
    assert blue["density"] > 0.05 > red["density"]


def on_a_grid(structure: Structure, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> GridDensity:
    return GridDensity(structure, Grid(np.zeros(3), 0.5 * np.eye(3), (9, 9, 9)), values)


def test_values_that_are_no_density_are_refused(water: Density) -> None:
    atom = Structure(np.array([2]), np.full((1, 3), 2.0))
    values = np.zeros((9, 9, 9), dtype=np.float32)
    with pytest.raises(UserError, match="holds no density: none of its values is above 0"):
        orbdens.view(on_a_grid(atom, values))
    values[4, 4, 4], values[2, 2, 2] = 1.0, -0.5
    with pytest.raises(UserError, match=r"holds no density: its values go down to -0\.5"):
        orbdens.view(on_a_grid(atom, values))
    values[2, 2, 2] = 0.0
    far = Structure(np.array([2]), np.full((1, 3), 20.0))
    with pytest.raises(UserError, match="grid of another structure: its atom 1, He, lies outside"):
        orbdens.view(on_a_grid(far, values))
    with pytest.raises(UserError, match="of He there is no potential to show, but density"):
        orbdens.view(on_a_grid(atom, values), "potential")
    with pytest.raises(UserError, match="the reference is of He and not of H2O"):
        orbdens.view(water, reference=on_a_grid(atom, values))
    moved = Structure(water.structure.numbers, water.structure.positions + 0.1)
    with pytest.raises(UserError, match=r"another geometry: an atom lies 0\.17 Å"):
        orbdens.view(water, reference=on_a_grid(moved, values))


def test_an_unknown_count_of_electrons_is_said_and_leaves_free_atoms_out() -> None:
    atom = Structure(np.array([6]), np.full((1, 3), 2.0))
    values = np.zeros((9, 9, 9), dtype=np.float32)
    values[4, 4, 4] = 1 / 0.5**3
    found = Scene.of(on_a_grid(atom, values), "carbon")
    assert set(found.fields) == {"density"}
    assert found.charges is None
    assert "1.0 electrons are neither all nor the valence" in found.notes[0]
