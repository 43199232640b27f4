"""Tests of untrusted Parquet files: one line says why a file cannot be read, and the process survives."""

import base64
import os
import signal
import subprocess
import sys
import zlib

import polars as pl
import pytest
from typer.testing import CliRunner

from potstill import parquet, processes
from potstill.articles import read_articles
from potstill.cli import build
from potstill.dataset import Dataset
from potstill.errors import BadInput, DatasetError
from potstill.parquet import open_parquet, read_parquet

FRAME = pl.DataFrame({"id": ["1", "2"], "content": ["a library", "a school"], "n": [1, None]})


HOSTILE = {
    "a page of -2 rows, for which 2^61 bytes are asked for": (
        "c-n<gPfx-y6z?V(m~h~*E-cw$2U#Ezgd%S9RtzYS;8<cjZ)|l-#%i_+;s^2UC-b8i+iHwAU)sLD-=Ei}^{_vJH8_X!B~%~);F!(8"
        "%+jz3ibF#b<tCvtQ^bCoW*G!fg=!zxVT*YfE;CAz<f9V+oB9MOExlde(7cNC3Ia{h-Xu1x#A*QD&=Po|F+G&^{!Oi*w1P6Tb>v@5"
        "2P_RH&=lR!4eL`f{%fjzNKgeFP^<<^Dq!cdo7ng79xmDC<89D>m(F;MF^?HvoE@uQ)<3m?ZZR(LmB?#+>M?%5=lBBS$G<wU*qlEI"
        "UXa({t?w~6PZxM9@{IRmA#@mfugv7k1jV82)h^8aEX>y!v{xR@f}%9LPlqa@dC%O%MVZpvM1#>_Xm-QrG>c4|xI+|1V?rWi6XKv~"
        "bdGE%7`g#+Cxjqk2XW-0o^J4GOe6q2_Q_wgUvFy"
    ),
    "a panic: a number that does not fit": (
        "c-n<g!A^rf5M8jrn)ILvOCaIE!ICyMwWU_T+t#$Tv8j~Ac!pAhgt7*(wSI_azsyfD&aTFIbFwqD^WK};&8|oMKCa;jp3Jd?5kg1c"
        "fsv(Q5fuA6FUnOyX(sXgCe1R8u#Dvn=uf}_7lD!l@!%BUhBidfv8EobXkM-J3L`~Q-UL`?V%CwSD+#_-K#xVOb5koQt*{7fP4Ty-"
        "iRL;86iL%H-TV~v|As0b0+ta2B(n}lMsSYWAijV1a0QoNZvypQIA=B>%*HG@Tc}@_KQ)JL2`R}n&r5RV0l(WZd`8IQUmXuN<M*8B"
        "<n(*=Jz>qG85!|BX7j+fju7t^nw&AG7&KjM!`#opd`XbH@MsnkrO|rYR|(DA#&%tlDa{S5+wb;_R`{G|kzvPf&kCbK97mQN$Bq^C"
        "FD%;$dTwC3!#K8LJ6K1q)z)<OjER7d2cP@}v|Vp&"
    ),
    "a panic: nothing where something must be": (
        "c-nnY!A`<J5ZzW%A>qKG+t8$k9;AUt5LU6Rx5WSw36>_tb4y#>q_n23AbyBvzsyfD&aTFIa<VhC^WK};&8|b;5w77Go-MJ25kd`c"
        "PfruS@QOp77v(0-^Hk#dZIY%KVHwMP(6_(=7lD!l@#qBMraDGaOKl%-@~jH83L`~Q-UL`iY}ApeDKWlOK#xVWe^V>+yuu>1b;RG6"
        "4q9p;P$X4THRDsz{vX;v%7=hu!~n^tLy{4k({57Ny?eNV%ZFR9{Vtp_JEzR1ELc0JU)Dc0hi)k?={3)5dg=hb-!ptc>EmA=4<_Re"
        "oaf~Hd-OeJ&65S4@H}Pnz_^Z5=M|c)DW@1TU+w(NP5o?5QG4a&saKSG_vui@dDhc+VNoV|rjx;FFx0#LbCL$S8QDYP2j@`~5HpG_"
        "5{xd0X?a82Blb9oNMw3pV3VGzv1g10gdF(fFSFTiYX"
    ),
}
"""Three texts in a Parquet file in which one byte was changed, compressed with zlib, in base 85."""


@pytest.fixture
def path(tmp_path):
    FRAME.write_parquet(tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def refusal(path):
    with pytest.raises(BadInput) as caught:
        read_parquet(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_a_table_is_read_as_it_was_written(path):
    file = open_parquet(path)
    assert (file.rows, file.columns.schema) == (2, FRAME.schema)
    assert [frame.rows() for frame in file.slices(1)] == [[FRAME.row(0)], [FRAME.row(1)]]
    assert read_parquet(path).equals(FRAME)


def test_a_table_without_rows_has_its_columns(tmp_path):
    FRAME.clear().write_parquet(tmp_path / "none.parquet")
    assert read_parquet(tmp_path / "none.parquet").equals(FRAME.clear())


def test_names_that_are_no_utf_8_and_names_with_patterns_are_read(tmp_path, path):
    for name in (b"caf\xe9.parquet", b"a*[b]?.parquet", b"line\nbreak.parquet"):
        other = tmp_path / os.fsdecode(name)
        other.write_bytes(path.read_bytes())
        assert read_parquet(other).equals(FRAME)


def test_a_relative_name_is_read_from_where_this_process_is(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    assert read_parquet("in.parquet").equals(FRAME)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable Parquet file ("),
        (b"PAR1 no PAR1", "not a readable Parquet file ("),
        (b'{"content": "text"}\n', "not a readable Parquet file ("),
        (b"PAR1" + b"\xff" * 100 + (90).to_bytes(4, "little") + b"PAR1", "not a readable Parquet file ("),
    ],
)
def test_what_is_no_parquet_is_refused(tmp_path, content, message):
    (tmp_path / "in.parquet").write_bytes(content)
    assert refusal(tmp_path / "in.parquet").startswith(message)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_ends_a_process_or_panics_is_one_line_on_the_command_line(tmp_path, name):
    """Read it by every method in turn, so that each request needs a working process."""
    path = tmp_path / "in.parquet"
    path.write_bytes(zlib.decompress(base64.b85decode(HOSTILE[name])))
    assert refusal(path).startswith("not a readable Parquet file (")
    for words in (
        (
            "label",
            tmp_path / "run",
            "--filter",
            "uplifting",
            "--articles",
            path,
            "--oracle",
            "replay:lee-oracle#uplifting",
        ),
        ("evaluate-predictions", path, "--filter", "uplifting"),
        ("tiers", path, "--filter", "uplifting"),
    ):
        done = CliRunner().invoke(build(), [str(word) for word in words])
        assert isinstance(done.exception, BadInput), (words, done.exception)
        assert "not a readable Parquet file (" in str(done.exception)
    with pytest.raises(DatasetError, match=r"in\.parquet: not a readable Parquet file"):
        Dataset.load(path, ("harm",))


def test_what_is_not_there_is_refused(tmp_path):
    assert refusal(tmp_path / "gone.parquet") == "no such file"
    assert refusal(tmp_path) == "cannot be read (Is a directory)"


def test_a_file_that_ends_the_reading_process_is_refused_and_the_next_one_is_read(path, monkeypatch):
    started = processes._started

    def that_ends(_):
        return subprocess.Popen(
            [sys.executable, "-c", "import os; input(); os.abort()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    parquet._PROCESS.end()
    monkeypatch.setattr(processes, "_started", that_ends)
    assert refusal(path) == "not a readable Parquet file (the reading process was ended by SIGABRT)"
    monkeypatch.setattr(processes, "_started", started)
    assert read_parquet(path).equals(FRAME)


def test_an_interrupt_while_waiting_is_no_answer_to_the_next_request(path, monkeypatch):
    exchange = processes._exchange

    def interrupted(process, request):
        exchange(process, request)
        raise KeyboardInterrupt

    read_parquet(path)
    monkeypatch.setattr(processes, "_exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_parquet(path)
    monkeypatch.setattr(processes, "_exchange", exchange)
    assert read_parquet(path).equals(FRAME)


def test_a_reading_process_that_was_ended_from_outside_is_started_again(path):
    read_parquet(path)
    parquet._PROCESS._process.send_signal(signal.SIGKILL)
    parquet._PROCESS._process.wait()
    assert read_parquet(path).equals(FRAME)


def test_a_file_that_is_replaced_while_it_is_read_is_refused(path):
    pl.concat([FRAME] * 2000).write_parquet(path)
    frames = read_articles(path, on_empty="keep", batch_size=2000)
    assert next(frames).height == 2000
    FRAME.write_parquet(path)
    with pytest.raises(BadInput, match=r"in\.parquet: has changed while it was read"):
        next(frames)


def test_the_reading_process_ends_with_this_one(path):
    program = (
        "import os, signal, sys; from potstill import parquet; parquet.read_parquet(sys.argv[1])\n"
        "print(parquet._PROCESS._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    child = int(done.stdout)
    for _ in range(600):
        status = subprocess.run(["ps", "-o", "stat=", "-p", str(child)], capture_output=True, text=True, check=False)
        if status.stdout.strip() in {"", "Z"}:
            return
        signal.sigtimedwait([], 0.1)
    pytest.fail("the reading process goes on")
