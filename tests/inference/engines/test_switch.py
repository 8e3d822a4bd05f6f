"""Which engine computes an image, where what was converted is kept, and what happens when something goes wrong."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from atrous.bundle import save_bundle
from atrous.errors import BundleError, RecipeError, UsageError
from atrous.inference import Predictor
from atrous.inference.engines import store, switch
from atrous.inference.engines.base import EngineError, named_maps, read_engine
from atrous.inference.engines.converting import ConversionProcess
from atrous.models import create_model
from tests.networks import experienced, made_image

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")
NAMES = ["a", "b", "c"]
IMAGE = made_image(70, 90)


@pytest.fixture(autouse=True)
def any_pace(monkeypatch):
    """On networks as small as these here, torch may well be the quicker one."""
    monkeypatch.setattr(switch, "SLOWER", float("inf"))


@pytest.fixture
def model():
    return experienced("unet2015", width=2)


@pytest.fixture
def bundle(model, tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    return save_bundle(tmp_path / "cells", model, class_names=NAMES)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A bundle that was converted by a process of its own, as the first who asks for the engine has it."""
    folder = tmp_path_factory.mktemp("converted")
    path = save_bundle(folder / "cells", experienced("unet2015", width=2), class_names=NAMES)
    Predictor.load(path, device="cpu", engine="openvino")
    return path


@pytest.fixture
def known(converted, tmp_path, monkeypatch):
    """A copy of it, to be changed."""
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    shutil.copytree(converted.parent, tmp_path / "known")
    return tmp_path / "known" / converted.name


def entries(bundle):
    return list(bundle.with_name(f".{bundle.name}.engines").iterdir())


def no_conversion(*_):
    raise AssertionError("nothing is to be converted")


def eager(monkeypatch):
    """Nothing is too little to convert for."""
    monkeypatch.setattr(switch, "READ_AFTER", 0.0)
    monkeypatch.setattr(switch, "CONVERT_AFTER", 0.0)


def wait_for(predictor):
    predictor.scorer._switch._thread.join()


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_engine_by_name_computes_in_float32_what_torch_computes(engine, model, unchecked):
    plain = Predictor(model, class_names=NAMES, device="cpu", precision="float32")
    fast = Predictor(model, class_names=NAMES, device="cpu", precision="float32", engine=engine)
    assert (plain.engine, fast.engine, fast.precision) == ("torch", engine, "float32")
    for image in (IMAGE, made_image(33, 57)):
        assert np.abs(fast(image).scores - plain(image).scores).max() < 1e-5
    views = fast(IMAGE, views=["hflip", "rot90"], tile=40)
    assert np.abs(views.scores - plain(IMAGE, views=["hflip", "rot90"], tile=40).scores).max() < 1e-5
    tensor = torch.from_numpy(IMAGE).permute(2, 0, 1)[None].float()
    logits, again = (fast.scorer.outputs(tensor.flip(-1) if turn else tensor)["out"] for turn in (False, True))
    assert torch.allclose(logits, plain.scorer.outputs(tensor)["out"], atol=1e-4)  # not what the next image left there
    assert not torch.allclose(logits, again, atol=1e-4)
    batch = torch.cat([tensor, tensor.flip(-1)])
    assert torch.allclose(fast.scorer(batch), plain.scorer(batch), atol=1e-5)


def test_threads_share_what_was_converted(converted):
    predict = Predictor.load(converted, device="cpu", engine="openvino", precision="float32")
    images = [made_image(40, 60 + 8 * i, seed=i) for i in range(6)]
    expected, found = [predict(image).scores for image in images], [None] * 6

    def work(i):
        for _ in range(5):
            found[i] = predict(images[i]).scores

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((one == other).all() for one, other in zip(found, expected, strict=True))


def test_a_shape_that_comes_often_is_compiled_for_itself_and_others_go_on(converted, monkeypatch):
    monkeypatch.setattr("atrous.inference.engines.openvino.OFTEN", 4)
    fast = Predictor.load(converted, device="cpu", engine="openvino", precision="float32")
    plain = Predictor.load(converted, device="cpu", engine="torch", precision="float32")
    pools, expected = fast.scorer._switch.ready._pools, plain(IMAGE).scores
    for count in range(1, 7):
        assert np.abs(fast(IMAGE).scores - expected).max() < 1e-5
        assert set(pools) == ({None} if count < 4 else {(1, 70, 90, 1)})
    other = made_image(61, 83)
    for _ in range(6):
        assert np.abs(fast(other).scores - plain(other).scores).max() < 1e-5
    assert np.abs(fast(IMAGE).scores - expected).max() < 1e-5
    assert set(pools) == {None, (1, 70, 90, 1)}


def test_what_was_converted_is_kept_beside_the_bundle_and_read_again(converted, monkeypatch):
    monkeypatch.setattr(switch, "ConversionProcess", no_conversion)
    [entry] = entries(converted)
    assert {file.name for file in entry.iterdir()} == {"network.xml", "network.bin", "made.json"}
    again = Predictor.load(converted, device="cpu", engine="openvino", precision="float32")
    plain = Predictor.load(converted, device="cpu", engine="torch", precision="float32")
    assert np.abs(again(IMAGE).scores - plain(IMAGE).scores).max() < 1e-5


@pytest.mark.parametrize("name", ["network.bin", "made.json"])
def test_what_is_damaged_is_made_again(known, name):
    [entry] = entries(known)
    whole = (entry / "network.bin").read_bytes()
    content = bytearray((entry / name).read_bytes())
    content[len(content) // 2] ^= 1
    (entry / name).write_bytes(content)
    Predictor.load(known, device="cpu", engine="openvino")
    assert (entry / "network.bin").read_bytes() == whole
    assert store.find([entry.parent], entry.name) is not None


def test_other_weights_have_another_entry(known, model):
    [entry] = entries(known)
    before = Predictor.load(known, device="cpu").scorer._switch._origin
    assert store.entry_of(before, "openvino") == entry.name
    with torch.no_grad():
        model.head.bias.add_(1.0)
    save_bundle(known, model, class_names=NAMES)
    after = Predictor.load(known, device="cpu").scorer._switch
    assert store.entry_of(after._origin, "openvino") != entry.name
    after.settle()  # nothing to read
    assert after.ready is None


def test_a_bundle_that_was_exchanged_since_it_was_read_is_not_converted(bundle, model):
    predictor = Predictor.load(bundle, device="cpu")
    save_bundle(bundle, experienced("unet2015", width=2), class_names=NAMES)
    with pytest.raises(EngineError, match="was exchanged since it was read"):
        store.entry_of(predictor.scorer._switch._origin, "openvino")


def test_read_only_folders_are_left_for_the_users_cache(bundle, monkeypatch, tmp_path):
    may_write = store.writable
    monkeypatch.setattr(switch, "writable", lambda place: place.parent != bundle.parent and may_write(place))
    predictor = Predictor.load(bundle, device="cpu", engine="openvino")
    assert predictor.engine == "openvino"
    assert not bundle.with_name(".cells.engines").exists()
    assert len(list((tmp_path / "cache/engines").iterdir())) == 1


def test_where_nothing_can_be_kept_it_goes_with_the_process(bundle, monkeypatch, tmp_path):
    monkeypatch.setattr(switch, "writable", lambda _: False)
    predictor = Predictor.load(bundle, device="cpu", engine="openvino")
    assert predictor(IMAGE).classes.shape == (70, 90)
    kept = Path(predictor.scorer._switch._temporary.name)
    assert kept.is_dir()
    del predictor
    assert not kept.exists()
    assert not (tmp_path / "cache").exists()


def test_a_place_keeps_the_newest(tmp_path):
    for number in range(7):
        (tmp_path / f"{number}").mkdir()
        store.seal(tmp_path / f"{number}", {})
        os.utime(tmp_path / f"{number}", (number, number))
    store.prune(tmp_path, "0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "4", "5", "6"]


def test_auto_converts_behind_the_images_where_enough_is_predicted(bundle, monkeypatch, caplog):
    caplog.set_level("INFO", "atrous")
    eager(monkeypatch)
    predict = Predictor.load(bundle, device="cpu")
    plain = Predictor.load(bundle, device="cpu", engine="torch")
    assert predict.engine == "torch"
    assert (predict(IMAGE).scores == plain(IMAGE).scores).all()  # of torch
    wait_for(predict)  # there is nothing to read
    predict(IMAGE)
    wait_for(predict)
    assert predict.engine == "openvino"
    assert np.abs(predict(IMAGE).scores - plain(IMAGE).scores).mean() < 0.02
    [line] = [record.message for record in caplog.records]
    assert line.startswith("openvino computes the images from here on: converted in ")


def test_auto_leaves_small_work_to_torch(bundle, monkeypatch):
    monkeypatch.setattr(switch, "ConversionProcess", no_conversion)
    predict = Predictor.load(bundle, device="cpu")
    for _ in range(3):
        predict(IMAGE)
    assert predict.scorer._switch._thread is None
    assert predict.engine == "torch"


def test_auto_stays_with_torch_where_the_conversion_fails_and_says_so_once(bundle, monkeypatch, caplog):
    caplog.set_level("INFO", "atrous")
    eager(monkeypatch)

    def fail(*_):
        raise EngineError("it gives maps of another size")

    monkeypatch.setattr(switch, "ConversionProcess", fail)
    predict = Predictor.load(bundle, device="cpu")
    for _ in range(3):
        predict(IMAGE)
        wait_for(predict)
    assert predict.engine == "torch"
    assert [record.message for record in caplog.records] == [
        "torch goes on computing: openvino does not serve this network: it gives maps of another size"
    ]


def test_a_network_that_is_not_the_one_that_was_read_is_refused(converted, monkeypatch):
    """The last look before it is used: what lies in the cache has been changed together with its hash."""
    monkeypatch.setattr(switch, "ConversionProcess", no_conversion)
    predict = Predictor.load(converted, device="cpu")
    with torch.no_grad():
        for weight in predict.scorer._kept.get().parameters():
            weight.mul_(1.5)
    predict.settle()
    assert predict.engine == "torch"


def test_an_engine_that_is_slower_is_left_unless_it_is_asked_for(converted, caplog, monkeypatch):
    monkeypatch.setattr(switch, "ConversionProcess", no_conversion)
    monkeypatch.setattr(switch, "SLOWER", 0.0)
    predict = Predictor.load(converted, device="cpu")
    with caplog.at_level("INFO"):
        predict.settle()
    assert predict.engine == "torch"
    assert "openvino does not serve this network: it takes" in caplog.text
    assert "times as long" in caplog.text
    assert Predictor.load(converted, device="cpu", engine="openvino").engine == "openvino"


def test_an_engine_lets_the_network_go_until_it_is_needed(converted, monkeypatch):
    monkeypatch.setattr(switch, "ConversionProcess", no_conversion)
    predict = Predictor.load(converted, device="cpu", engine="openvino")
    assert predict.scorer._kept._network is None
    plain = Predictor.load(converted, device="cpu", engine="torch")
    small = IMAGE[:5, :5]  # smaller than the engine takes
    assert (predict(small).classes == plain(small).classes).all()
    assert predict.scorer._kept._network is not None


def test_a_network_that_was_let_go_comes_from_the_same_weights(known, model):
    predict = Predictor.load(known, device="cpu", engine="openvino")
    save_bundle(known, model, class_names=NAMES)
    with pytest.raises(BundleError, match="was exchanged since it was read: load the predictor again"):
        predict(IMAGE[:5, :5])


def test_float32_on_request_is_torch(bundle):
    assert Predictor.load(bundle, device="cpu", precision="float32").scorer._switch is None
    assert Predictor.load(bundle, device="cpu", engine="torch").scorer._switch is None


def test_figures_that_are_compared_come_from_one_engine(converted, bundle, monkeypatch):
    monkeypatch.setattr(switch, "ConversionProcess", no_conversion)
    eager(monkeypatch)
    known, new = Predictor.load(converted, device="cpu"), Predictor.load(bundle, device="cpu")
    known.settle()
    new.settle()
    assert (known.engine, new.engine) == ("openvino", "torch")
    new(IMAGE)
    assert new.scorer._switch._thread is None


def test_an_image_that_the_engine_cannot_compute_is_computed_by_torch(converted, caplog, monkeypatch):
    caplog.set_level("INFO", "atrous")
    fast = Predictor.load(converted, device="cpu", precision="float32", engine="openvino")
    plain = Predictor.load(converted, device="cpu", precision="float32")
    monkeypatch.setattr(fast.scorer._switch._ready, "_names", ("out", "aux"))  # it has no such map
    for _ in range(2):
        assert (fast(IMAGE).scores == plain(IMAGE).scores).all()
    [line] = [record.message for record in caplog.records]
    assert line.startswith("OpenVINO fails on (1, 1, 70, 90) (")
    assert line.endswith("; torch computes such images")


def test_tiny_images_are_torchs(model, unchecked):
    fast = Predictor(model, class_names=NAMES, device="cpu", precision="float32", engine="openvino")
    plain = Predictor(model, class_names=NAMES, device="cpu", precision="float32")
    for size in ((1, 1), (8, 9), (31, 90)):
        assert (fast(made_image(*size)).scores == plain(made_image(*size)).scores).all()


def test_maps_of_another_size_are_refused():
    image = torch.zeros(1, 1, 8, 9)
    assert named_maps(["out"], [np.zeros((1, 3, 8, 9), np.float32)], image)["out"].shape == (1, 3, 8, 9)
    with pytest.raises(EngineError, match=r"gives maps of \(1, 3, 8, 8\) for an image of \(1, 1, 8, 9\)"):
        named_maps(["out"], [np.zeros((1, 3, 8, 8), np.float32)], image)


def test_dropouts_are_drawn_by_torch(unchecked):
    torch.manual_seed(0)
    model = create_model("segnet_bayesian", num_classes=3, in_channels=1, width=4)
    fast = Predictor(model, class_names=NAMES, device="cpu", precision="float32", engine="openvino")
    plain = Predictor(model, class_names=NAMES, device="cpu", precision="float32")
    found, expected = (predict(IMAGE, views=["mc:3"]) for predict in (fast, plain))
    assert (found.uncertainty == expected.uncertainty).all()
    assert found.uncertainty.max() > 0


def test_an_engine_that_is_unknown_or_missing_is_refused_before_anything_is_loaded(bundle, model, monkeypatch):
    import atrous

    with pytest.raises(UsageError, match=r"unknown engine 'openvno'\. Did you mean 'openvino'"):
        Predictor.load(bundle, engine="openvno")
    with pytest.raises(UsageError, match=r"--engine: unknown engine 'x'\. Choose from: auto, onnxruntime"):
        atrous.predict(bundle, "nowhere", engine="x")
    with pytest.raises(RecipeError, match="recipe: unknown engine 3"):
        read_engine(3, place="recipe", error=RecipeError)
    with pytest.raises(UsageError, match="onnxruntime: it computes in float32, and not in bfloat16"):
        Predictor.load(bundle, engine="onnxruntime", precision="bfloat16", device="cpu")
    monkeypatch.setattr(switch, "is_installed", lambda _: False)
    with pytest.raises(UsageError, match=r"openvino: it is not installed; run `pip install atrous\[fast\]`, or say"):
        Predictor.load(bundle, engine="openvino", device="cpu")


def test_a_bundle_says_what_computes_it(bundle, model, monkeypatch):
    save_bundle(bundle, model, class_names=NAMES, recipe={"engine": "torch"})
    assert Predictor.load(bundle, device="cpu").scorer._switch is None
    assert Predictor.load(bundle, device="cpu", engine="auto").scorer._switch is not None
    save_bundle(bundle, model, class_names=NAMES, recipe={"engine": "tensorrt"})
    with pytest.raises(BundleError, match=r"recipe.yaml.*unknown engine 'tensorrt'"):
        Predictor.load(bundle, device="cpu")


def run(code, tmp_path, **environment):
    home = tmp_path / "home"
    home.mkdir()
    variables = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), list(home.rglob("*"))


def test_nothing_is_imported_before_it_is_used_and_nothing_is_reported(tmp_path):
    """On import OpenVINO would write an identity into the home folder and send events to a server."""
    code = """
import sys, atrous.inference
from atrous.inference.engines import openvino
print([name for name in ("openvino", "onnxruntime", "onnx", "nncf") if name in sys.modules])
print(openvino.version() > "2026", "openvino_telemetry" in sys.modules)
"""
    told, written = run(code, tmp_path, XDG_CACHE_HOME=str(tmp_path))
    assert told.splitlines() == ["[]", "True False"]
    assert [path for path in written if "matplotlib" not in str(path) and path.name != ".config"] == []


def test_a_process_ends_while_a_conversion_is_on_its_way(bundle, tmp_path):
    code = f"""
import numpy as np, time
from atrous.inference import Predictor
from atrous.inference.engines import switch
switch.READ_AFTER = switch.CONVERT_AFTER = 0.0
predict = Predictor.load({str(bundle)!r}, device="cpu")
image = np.zeros((64, 64), np.uint8)
predict(image)
predict.scorer._switch._thread.join()
predict(image)
while predict.scorer._switch._process is None:
    time.sleep(0.01)
print(predict.scorer._switch._process._process.pid)
"""
    told, _ = run(code, tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int(told), 0)
    assert [path for path in entries(bundle) if not path.name.startswith(".")] == []


def test_a_process_that_dies_says_so(bundle, tmp_path):
    origin = Predictor.load(bundle, device="cpu").scorer._switch._origin
    with pytest.raises(EngineError, match="was exchanged since it was read"):
        ConversionProcess(origin, "openvino", tmp_path / "another-name").wait()
