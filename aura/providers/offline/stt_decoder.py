"""PocketSphinx for one utterance at a time, tuned for short requests. Runs in a worker process only: it holds the GIL.

Two decoders hear every utterance: dictation (the English model that comes with PocketSphinx) and the assistant's
phrases (a trigram model estimated from `phrases.py`; 8 MB, a tenth of the work). `stt_choice.choose` picks.

Cepstral means: the model expects them removed per utterance ("batch"), which a stream cannot do, and a fixed guess
doubles the word errors. So the first `warmup_s` of an utterance are held back, their mean is taken, and only then are
they decoded; later audio moves the mean as PocketSphinx's live mode does.
"""

from __future__ import annotations

import math
import re
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any

from aura.core.ports import LISTEN_RATE_HZ
from aura.providers.offline.phrases import corpus, novelty
from aura.providers.offline.stt_choice import Hypothesis, Word, choose

_BYTES_PER_S = LISTEN_RATE_HZ * 2
_LEAST_BYTES = _BYTES_PER_S // 10
_USUAL_MEAN = (45.6, -0.3, 1.9, 14.3, -2.4, -1.1, -0.1, -5.7, -2.7, -4.2, 3.6, -0.6, 0.3)
"""Mean cepstrum of 66 clips (24 human voices, 42 synthetic ones); counts like `_USUAL_FRAMES` frames of evidence."""
_USUAL_FRAMES = 10.0
_PROBE = 50.0
_CMN_WINDOW = 500
"""PocketSphinx gives a mean that is set the weight of 500 frames (CMN_WIN in cmn.h)."""
_LATTICE_BYTES = 6 * _BYTES_PER_S
"""The search through the word lattice at the end saves every fourth word error and takes 20 ms for a short request but
300 ms after 10 s of speech: longer utterances do without."""
_PAUSE_BYTES = _BYTES_PER_S * 3 // 20
_QUIET = 0.1
"""A piece is a pause where its mean magnitude is below this share of the loudest piece's (20 dB under it)."""
_LEAST_LOG = -700.0
_FILLER = re.compile(r"^(<.*>|\[.*\]|\+\+.*\+\+)$")
_VARIANT = re.compile(r"\(\d+\)$")


class Models:
    """Makes decoders."""

    def __init__(self, vocabulary: str) -> None:
        self.vocabulary = vocabulary
        self._phrases = phrase_model() if vocabulary != "dictation" else ("", "")

    def dictation(self) -> Any:
        """A decoder for anything in English: 90 MB, about 0.5 s to make. None if only phrases are wanted."""
        return None if self.vocabulary == "phrases" else _decoder()

    def phrases(self) -> Any:
        """A decoder for the assistant's phrases: 8 MB, about 25 ms. Without phrases it only extracts features."""
        from pocketsphinx import get_model_path

        hmm = get_model_path("en-us/en-us")
        if self.vocabulary == "dictation":
            return _decoder(hmm=hmm, allphone=get_model_path("en-us/en-us-phone.lm.bin"), lm=None)
        with tempfile.TemporaryDirectory(prefix="aura-stt-") as folder:  # PocketSphinx reads files only, and at once
            model, dictionary = Path(folder) / "phrases.lm", Path(folder) / "phrases.dict"
            model.write_text(self._phrases[0], encoding="utf-8")
            dictionary.write_text(self._phrases[1], encoding="utf-8")
            return _decoder(hmm=hmm, lm=str(model), dict=str(dictionary))


def phrase_model() -> tuple[str, str]:
    """The assistant's phrases as a language model (ARPA) and their part of the pronouncing dictionary."""
    from pocketsphinx import get_model_path
    from pocketsphinx.lm import ArpaBoLM

    lines = list(corpus())
    model = ArpaBoLM(text="\n".join(lines), add_start=True, discount_mass=0.3)
    model.sent_count = len(lines)
    model.compute()
    arpa = StringIO()
    model.write(arpa)
    known = {word for line in lines for word in line.split()}
    entries = Path(get_model_path("en-us/cmudict-en-us.dict")).read_text(encoding="utf-8").splitlines(keepends=True)
    kept = (entry for entry in entries if _VARIANT.sub("", entry.partition(" ")[0]) in known)
    return arpa.getvalue(), "".join(kept)


def _decoder(**options: Any) -> Any:
    from pocketsphinx import Decoder

    return Decoder(fwdflat=False, bestpath=True, loglevel="FATAL", **options)


class Ears:
    """The decoders of one utterance after the other: `begin`, `feed` …, `words` …, `finish` or `abandon`.

    The best words cost the end of the utterance (the word lattice is searched then). So when the words are wanted in a
    pause, the utterance is ended there. What is quiet after it changes nothing: `finish` answers at once, and with the
    same words. What is loud starts the utterance again from its kept audio.
    """

    def __init__(self, models: Models, *, warmup_s: float) -> None:
        self._phrases = models.phrases()
        self._dictation = models.dictation()
        self._with_phrases = models.vocabulary != "dictation"
        self._warmup_bytes = int(warmup_s * _BYTES_PER_S)
        self._audio = bytearray()
        self._decoded = 0
        self._running = False
        self._loudest = 0.0
        self._settled: Hypothesis | None = None

    def begin(self) -> None:
        """Start an utterance."""
        self.abandon()

    def feed(self, pcm: bytes) -> None:
        """Decode (or hold back) the next audio."""
        self._audio += pcm
        self._loudest = max(self._loudest, loudness(pcm))
        if self._settled is not None:
            if loudness(pcm) < self._loudest * _QUIET:
                return
            self._settled = None
        if self._running or len(self._audio) >= self._warmup_bytes:
            self._decode()

    def words(self) -> Hypothesis:
        """The best words so far. Audio that was held back is decoded now if it is long enough."""
        if self._settled is not None:
            return self._settled
        if len(self._audio) < self._warmup_bytes // 2:
            return Hypothesis()
        self._decode()
        pausing = loudness(self._audio[-_PAUSE_BYTES:]) < self._loudest * _QUIET
        return self._settle() if pausing and len(self._audio) <= _LATTICE_BYTES else self._best()

    def glimpse(self) -> str:
        """The words that have been decoded so far. Costs next to nothing and changes nothing."""
        if self._settled is not None:
            return self._settled.text()
        return self._best().text() if self._running else ""

    def finish(self) -> Hypothesis:
        """The words of the whole utterance."""
        if self._settled is not None:
            return self._settled
        if len(self._audio) < _LEAST_BYTES:
            return Hypothesis()
        self._decode()
        return self._settle()

    def abandon(self) -> None:
        """Forget the utterance."""
        if self._running:
            self._end()
        self._audio.clear()
        self._settled = None
        self._loudest = 0.0

    def _active(self) -> list[Any]:
        heard = [self._dictation] if self._dictation is not None else []
        return [*heard, self._phrases] if self._with_phrases else heard

    def _decode(self) -> None:
        """Decode what has not been decoded yet; from the beginning if no utterance is running."""
        if not self._running:
            opening = bytes(self._audio[: self._warmup_bytes])
            mean = ",".join(f"{value:.2f}" for value in mean_cepstrum(self._phrases, opening))
            for decoder in self._active():
                decoder.set_cmn(mean)
                decoder.start_utt()
            self._running = True
            self._decoded = 0
        pcm = bytes(self._audio[self._decoded :])
        self._decoded = len(self._audio)
        for decoder in self._active() if pcm else ():
            decoder.process_raw(pcm, False, False)

    def _settle(self) -> Hypothesis:
        """End the utterance here; the words that are its best."""
        quick = self._best() if len(self._audio) > _LATTICE_BYTES else None
        self._end()
        self._settled = quick or self._best()
        return self._settled

    def _end(self) -> None:
        self._running = False
        for decoder in self._active():
            decoder.end_utt()

    def _best(self) -> Hypothesis:
        dictated = _hypothesis(self._dictation) if self._dictation is not None else Hypothesis()
        phrase = _hypothesis(self._phrases) if self._with_phrases else Hypothesis()
        return choose(dictated, phrase, novelty) if self._with_phrases else dictated


def loudness(pcm: bytes | bytearray) -> float:
    """Mean magnitude of the samples."""
    samples = memoryview(pcm).cast("h")
    return sum(map(abs, samples)) / max(1, len(samples))


def mean_cepstrum(decoder: Any, pcm: bytes) -> list[float]:
    """Mean of the cepstra of `pcm`, drawn a little towards the usual one; `decoder` must be idle.

    PocketSphinx only tells (500 x what was set + sum) / (500 + frames) and leaves out silent frames, so the sum and the
    number of frames come from two runs with different settings.
    """
    blank = _updated_mean(decoder, pcm, 0.0)
    probed = _updated_mean(decoder, pcm, _PROBE)
    shift = max(1e-3, min(_PROBE, probed[1] - blank[1]))
    weight = _CMN_WINDOW * _PROBE / shift
    frames = weight - _CMN_WINDOW
    return [
        (value * weight + usual * _USUAL_FRAMES) / (frames + _USUAL_FRAMES)
        for value, usual in zip(blank, _USUAL_MEAN, strict=True)
    ]


def _updated_mean(decoder: Any, pcm: bytes, second: float) -> list[float]:
    decoder.set_cmn(",".join(["0", f"{second}"] + ["0"] * (len(_USUAL_MEAN) - 2)))
    decoder.start_utt()
    decoder.process_raw(pcm, True, False)
    text: str = decoder.get_cmn(True)
    decoder.end_utt()
    return [float(value) for value in text.split(",")]


def _hypothesis(decoder: Any) -> Hypothesis:
    words: list[Word] = []
    for segment in decoder.seg() or ():
        text = "" if _FILLER.match(segment.word) else _VARIANT.sub("", segment.word)
        score = math.log(segment.ascore) if segment.ascore > 0 else _LEAST_LOG
        words.append(Word(text, segment.start_frame, segment.end_frame, score, min(1.0, segment.prob)))
    return Hypothesis(tuple(words))
