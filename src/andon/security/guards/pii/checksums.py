"""Check digits of numbers that have them: what tells a card from any sixteen digits.

Pure. Each function takes the number without blanks and hyphens and says whether it is one.
"""

from __future__ import annotations

import ipaddress
from types import MappingProxyType
from typing import Final

# Lengths of the countries that issue IBANs (ISO 13616, SWIFT's registry).
IBAN_LENGTHS: Final = MappingProxyType(
    {
        "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
        "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
        "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
        "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
        "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
        "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24,
        "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24,
        "XK": 20,
    }
)  # fmt: skip
# First digits of the card schemes and how long their numbers are.
_CARDS: Final = (
    ("4", (13, 15, 16, 19)), ("5", (16,)), ("2", (15, 16)), ("34", (15,)), ("37", (15,)), ("6", tuple(range(12, 20))),
    ("50", tuple(range(12, 20))), ("56", tuple(range(12, 20))), ("57", tuple(range(12, 20))), ("0604", (12,)),
    ("58", tuple(range(12, 20))),
    ("35", (15, 16)), ("1800", (15,)), ("30", (14, 16)), ("36", (14, 16)), ("38", (14,)), ("39", (14, 16)),
)  # fmt: skip
_DNI_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"


def luhn(number: str) -> bool:
    """ISO/IEC 7812-1 annex B."""
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = ord(digit) - 48
        if place % 2:
            value *= 2
            if value > 9:
                value -= 9
        total += value
    return total % 10 == 0


def card(number: str) -> bool:
    """A number of a payment card by scheme, length and Luhn's digit."""
    return (
        len(set(number)) > 1
        and any(number.startswith(first) and len(number) in lengths for first, lengths in _CARDS)
        and luhn(number)
    )


def iban(text: str) -> bool:
    """ISO 13616: length of the country and 97 as modulus (ISO 7064)."""
    upper = text.upper()
    if IBAN_LENGTHS.get(upper[:2]) != len(upper) or not upper.isalnum():
        return False
    digits = "".join(str(int(character, 36)) for character in upper[4:] + upper[:4])
    return int(digits) % 97 == 1


def us_ssn(number: str) -> bool:
    """The areas, groups and serials that were ever issued (SSA, since 2011: any but these)."""
    area, group, serial = number[:3], number[3:5], number[5:]
    return (
        area not in ("000", "666")
        and area[0] != "9"
        and group != "00"
        and serial != "0000"
        and number not in ("123456789", "078051120", "219099999")  # printed in advertisements and examples
    )


def nhs(number: str) -> bool:
    """The United Kingdom's NHS number: modulus 11."""
    total = sum((10 - place) * int(digit) for place, digit in enumerate(number[:9]))
    check = 11 - total % 11
    return check != 10 and int(number[9]) == check % 11


def dni(text: str) -> bool:
    """Spain's DNI and NIE: a letter by modulus 23."""
    upper = text.upper()
    digits = {"X": "0", "Y": "1", "Z": "2"}.get(upper[0], upper[0]) + upper[1:-1]
    return digits.isdigit() and _DNI_LETTERS[int(digits) % 23] == upper[-1]


def aadhaar(number: str) -> bool:
    """India's Aadhaar: Verhoeff's digit, in the dihedral group of order ten."""
    check = 0
    for place, digit in enumerate(reversed(number)):
        check = _times(check, _turned(place % 8, ord(digit) - 48))
    return check == 0


def _times(left: int, right: int) -> int:
    """Product in the dihedral group of order ten: 0-4 are rotations, 5-9 reflections."""
    turn, other = left % 5, right % 5
    if left < 5:
        return (turn + other) % 5 + (5 if right >= 5 else 0)
    return (turn - other) % 5 + (0 if right >= 5 else 5)


def _turned(times: int, digit: int) -> int:
    """Verhoeff's permutation applied `times` times."""
    for _ in range(times):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit


def ip_address(text: str) -> bool:
    """An address of either version that may stand for a person: not unspecified, loopback or a netmask."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (found.is_unspecified or found.is_loopback or text.startswith("255."))
