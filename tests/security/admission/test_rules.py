"""Decisions: what may be excepted, by whom, until when; what signatures change; what formats are taken."""

from __future__ import annotations

import msgspec
import pytest

from andon.kernel.admission import Admission
from andon.security.admission.kinds import AdmissionSpec
from andon.security.admission.model import Finding, Scanned
from andon.security.admission.rules import Allow, Case, Signed, Wanted, decide

DAY_NS = 86_400 * 10**9
NOW_NS = 20_000 * DAY_NS  # 2024-10-04
GLOBAL = Finding(
    rule="pickle-global",
    severity="suspicious",
    path="model.pkl",
    message="It uses own.Scaler.",
    subject="own.Scaler",
)
DANGER = Finding(
    rule="pickle-danger", severity="refused", path="model.pkl", message="eval", subject="builtins.eval"
)


def judged(
    *findings: Finding,
    formats: dict[str, str] | None = None,
    allow: Allow | None = None,
    policy: AdmissionSpec | None = None,
    signed: Signed | None = None,
    has_signers: bool = False,
    allow_pickle: bool = True,
    digest: str = "",
) -> Admission:
    return decide(
        Case(
            wanted=Wanted(model="m", source="s", allow_pickle=allow_pickle, allow=allow, digest=digest),
            policy=policy or AdmissionSpec(),
            has_signers=has_signers,
            signed=signed or Signed(),
            scanned=Scanned(
                formats=formats or {"model.onnx": "onnx"},
                findings=findings,
                found=len(findings),
                bytes_seen=1,
                operations=1,
            ),
            digest="sha256:" + "0" * 64,
            now_ns=NOW_NS,
        )
    )


def test_clean_is_admitted_and_says_so() -> None:
    seen = judged()
    assert (seen.admitted, seen.verdict, seen.verified) == (True, "clean", False)


def test_an_exception_covers_what_it_names_until_its_day() -> None:
    allow = Allow(findings=("pickle-global:own.Scaler",), reason="our own class", until="2024-10-04")
    seen = judged(GLOBAL, allow=allow)
    assert (seen.admitted, seen.verdict, seen.until) == (True, "suspicious", "2024-10-04")
    assert not judged(GLOBAL, allow=msgspec.structs.replace(allow, until="2024-10-03")).admitted
    assert not judged(
        GLOBAL, allow=msgspec.structs.replace(allow, findings=("pickle-global:other",))
    ).admitted
    assert judged(GLOBAL, allow=msgspec.structs.replace(allow, findings=("pickle-global",))).admitted


def test_what_is_refused_cannot_be_excepted() -> None:
    allow = Allow(
        findings=("pickle-danger", "pickle-danger:builtins.eval"), reason="trust me", until="2099-01-01"
    )
    seen = judged(DANGER, allow=allow)
    assert (seen.admitted, seen.verdict) == (False, "refused")
    assert not judged(DANGER, policy=AdmissionSpec(globals=("builtins.eval",))).admitted


def test_the_factory_may_list_names_of_its_own() -> None:
    assert judged(GLOBAL, policy=AdmissionSpec(globals=("own.Scaler",))).verdict == "clean"


def test_a_pickle_needs_permission_and_its_format_a_place_on_the_list() -> None:
    formats = {"model.pkl": "pickle"}
    assert judged(formats=formats).admitted
    assert "allowPickle" in judged(formats=formats, allow_pickle=False).reason
    assert not judged(formats=formats, policy=AdmissionSpec(formats=("onnx",))).admitted
    assert not judged(formats={"m.h5": "hdf5"}).admitted
    assert judged(formats={"m.h5": "hdf5"}, policy=AdmissionSpec(formats=("hdf5",))).admitted


@pytest.mark.parametrize(
    ("signatures", "has_signers", "signed", "admitted"),
    [
        ("auto", False, Signed(), True),
        ("auto", True, Signed(), False),
        ("auto", True, Signed(is_there=True, signer="builder"), True),
        ("auto", True, Signed(is_there=True, problem="It is not what was signed."), False),
        ("required", False, Signed(), False),
        ("optional", True, Signed(), True),
        ("optional", True, Signed(is_there=True, problem="It is not what was signed."), False),
    ],
)
def test_signatures(signatures: str, has_signers: bool, signed: Signed, admitted: bool) -> None:
    policy = msgspec.convert({"signatures": signatures}, AdmissionSpec)
    seen = judged(policy=policy, has_signers=has_signers, signed=signed)
    assert seen.admitted is admitted
    assert seen.verified is bool(signed.signer)


def test_another_digest_than_the_declared_one_is_refused() -> None:
    assert not judged(digest="sha256:" + "1" * 64).admitted
    assert judged(digest="sha256:" + "0" * 64).admitted
