"""Bodies of answers."""

from typing import Literal

from pydantic import BaseModel


class PictureAnswer(BaseModel):
    """box: left, top, width and height of the digit, in pixels of the upright picture.

    image: what the network saw, light on dark, as the data: URL of a PNG.
    """

    box: tuple[int, int, int, int]
    polarity: Literal["dark on light", "light on dark"]
    image: str


class DigitAnswer(BaseModel):
    """box: as in PictureAnswer; polarity, image: with explain=true."""

    label: int
    probability: float
    box: tuple[int, int, int, int]
    polarity: Literal["dark on light", "light on dark"] | None = None
    image: str | None = None


class RowAnswer(BaseModel):
    """text: the labels of the digits, or the names of their classes, from left to right."""

    text: str
    digits: list[DigitAnswer]


class PredictAnswer(BaseModel):
    """label_names: of the labels, if the classes have names; pictures: one for each image, with explain=true or
    several=true; prediction_ids: with remember=true. With several=true, each digit of each picture has a label."""

    labels: list[int]
    probabilities: list[list[float]]
    model_version: int
    label_names: list[str] | None = None
    pictures: list[PictureAnswer] | list[RowAnswer] | None = None
    prediction_ids: list[str] | None = None


class AccuracyAnswer(BaseModel):
    """confusion_matrix: a row for each true class, a column for each predicted one; label_names: of the classes, if
    they have names."""

    accuracy: float
    loss: float
    count: int
    confusion_matrix: list[list[int]]
    model_version: int
    label_names: list[str] | None = None


class TrainStepAnswer(BaseModel):
    """loss and accuracy: of the posted examples, before the step; learning_rate: the factor of the gradient;
    rehearsed: how many examples came from the replay memory; clip_norm: the limit on the gradient's norm, if it reduced
    the learning rate."""

    model_version: int
    loss: float
    accuracy: float
    gradient_norm: float
    learning_rate: float
    count: int
    rehearsed: int
    clip_norm: float | None = None


class VersionAnswer(BaseModel):
    """created_at: ISO 8601, UTC. What a kind of version does not have is null.

    source: who or what taught a train-step; source_version: the version that a rollback returned to, or the train-step
    that a relabel gave other labels; unlearned: the train-steps that an unlearn took out; labels: those of a relabel;
    label_name: of the class that a grow added, if classes have names;
    memory_size: the limit of the memory that a train-step added its examples to;
    event, reason: if the version paused or resumed learning, or the alarm made it.
    """

    model_version: int
    kind: Literal["load", "train-step", "rollback", "unlearn", "relabel", "grow"]
    created_at: str
    count: int | None
    loss: float | None
    accuracy: float | None
    learning_rate: float | None
    source: str | None
    source_version: int | None
    unlearned: list[int] | None
    labels: list[int] | None = None
    label_name: str | None = None
    memory_size: int | None = None
    event: Literal["pause", "resume", "alarm"] | None = None
    reason: str | None = None


class ChangedStepsAnswer(VersionAnswer):
    """examples: how many labelled examples the train-steps have that were unlearned or relabelled."""

    examples: int


class ClassesAnswer(VersionAnswer):
    """classes: how many the network now has. The new one has the largest number."""

    classes: int


class VersionsAnswer(BaseModel):
    """next_before: the parameter `before` of the next page; null on the last page."""

    versions: list[VersionAnswer]
    next_before: int | None


class PredictionAnswer(BaseModel):
    """label: the predicted one; created_at, expires_at: ISO 8601, UTC."""

    prediction_id: str
    created_at: str
    label: int
    probabilities: list[float]
    model_version: int
    expires_at: str


class PredictionsAnswer(BaseModel):
    """next_before: the parameter `before` of the next page; null on the last page."""

    predictions: list[PredictionAnswer]
    next_before: str | None


class LabelAnswer(BaseModel):
    """index: the example's place in its train-step, from 0; label: as relabelled; predicted: by the newest version;
    probability: of the label, the geometric mean of its probabilities before the step and by the newest version;
    created_at: of the train-step, ISO 8601, UTC; source: who or what taught it, null if that was not said."""

    model_version: int
    index: int
    label: int
    predicted: int
    probability: float
    source: str | None
    created_at: str


class LabelsAnswer(BaseModel):
    """Of the newest 10,000 labelled examples, those in force, the least probable labels first."""

    labels: list[LabelAnswer]


class FiguresAnswer(BaseModel):
    """accuracy, loss: means, null without examples; a single loss counts at most 100."""

    label: int
    count: int
    accuracy: float | None
    loss: float | None


class WindowAnswer(BaseModel):
    """The last labelled examples, at most `examples` of them."""

    examples: int
    count: int
    accuracy: float | None
    loss: float | None
    by_class: list[FiguresAnswer]


class ChosenAnswer(WindowAnswer):
    """Examples that the service listed as the most uncertain; pinned: answers of versions that clients named."""

    pinned: WindowAnswer


class AnsweredAnswer(BaseModel):
    """count: images that were answered; confidence: the mean of their highest probabilities; pictures: how many
    pictures came; refused: the share of these that show no digit, or several."""

    count: int
    confidence: float | None
    pictures: int
    refused: float | None


class UnlabelledAnswer(BaseModel):
    """The first thousand images since a version was loaded, and the last thousand."""

    since_version: int
    first: AnsweredAnswer
    last: AnsweredAnswer


class ChangedAnswer(BaseModel):
    """model_version: where the errors changed; examples: how many were labelled since."""

    model_version: int
    examples: int


class AlarmAnswer(BaseModel):
    """act: what it does; false_every: labelled examples between two false reports of a change; usual_accuracy: a lower
    limit of it, null until it is known; evidence: 0…1 of what is reported as a change; changed: null if there is none,
    or it was 1,000 examples ago."""

    act: Literal["off", "pause", "rollback"]
    false_every: int
    usual_accuracy: float | None
    evidence: float
    changed: ChangedAnswer | None


class LearningAnswer(BaseModel):
    """windows: of answers of the version that was served; chosen: of examples that are no fair sample;
    best_window_accuracy: of 1,000 examples, since the model was last loaded or rolled back, or learning paused or
    resumed; remembered: how many examples the newest version remembers: from 0 there is nothing to rehearse yet;
    label_names: of the classes, if they have names."""

    state: Literal["paused", "learning"]
    reason: str | None
    windows: list[WindowAnswer]
    best_window_accuracy: float | None
    chosen: ChosenAnswer
    unlabelled: UnlabelledAnswer
    alarm: AlarmAnswer
    remembered: int
    label_names: list[str] | None = None


class HealthAnswer(BaseModel):
    status: Literal["ok"]


class ReadyAnswer(BaseModel):
    """store: present if it was removed or replaced; staleness: for how many seconds it has been unknown whether there
    is a newer version; models_in_trouble: names of models that this worker could not open."""

    status: Literal["ready"]
    model_version: int
    store: str | None = None
    staleness: float | None = None
    models_in_trouble: list[str] | None = None


class MistakeAnswer(BaseModel):
    """loc: a path into the request; msg: what was expected there."""

    loc: list[str | int]
    msg: str


class ProblemAnswer(BaseModel):
    """An error, as in RFC 9457. detail: what is wrong, for people; errors: where."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[MistakeAnswer]


class ModelAnswer(BaseModel):
    """bytes: of its store; error: why it can't be read now, in place of the rest."""

    name: str
    model_version: int | None = None
    classes: int | None = None
    bytes: int | None = None
    created_at: str | None = None
    error: str | None = None


class ModelsAnswer(BaseModel):
    """Models by name. next_after: the parameter `after` of the next page, null on the last one."""

    models: list[ModelAnswer]
    next_after: str | None


class ModelKeyAnswer(BaseModel):
    """key: opens the model's closed endpoints. It is answered this once: only a digest of it is kept."""

    name: str
    key: str


class SetAsideAnswer(BaseModel):
    """store: the file or the schema of the model's store, for `twolayernet models restore`."""

    name: str
    store: str
