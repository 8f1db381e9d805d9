"""Asks through the gateway with the plain OpenAI client: python ask.py [HOW_OFTEN].

Needs ANDON_KEY and the package openai; ANDON_GATEWAY says where the gateway is, by default on this machine.
"""

from __future__ import annotations

import os
import sys

import openai


def main() -> None:
    """Ask, and print each answer or why there is none."""
    url = os.environ.get("ANDON_GATEWAY", "http://127.0.0.1:8790") + "/v1"
    with openai.OpenAI(base_url=url, api_key=os.environ["ANDON_KEY"], max_retries=0) as client:
        for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
            try:
                answer = client.chat.completions.create(
                    model="assistant",
                    messages=[{"role": "user", "content": "Say something about assembly lines."}],
                    max_tokens=20,
                )
                print(answer.choices[0].message.content)
            except openai.RateLimitError as error:
                print("refused:", error.message, "retry after", error.response.headers["retry-after"], "s")


if __name__ == "__main__":
    main()
