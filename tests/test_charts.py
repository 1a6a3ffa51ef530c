import numpy as np

from challenge.report.charts import class_chart, confusion_chart, line_chart


def test_a_chart_takes_the_colour_of_the_page() -> None:
    chart = line_chart({"a": [(0.0, 1.0), (1.0, 2.0)], "b": []}, "seconds", "images/s")
    assert chart is not None
    assert chart.startswith("<svg")
    assert "currentColor" in chart
    assert "#010203" not in chart
    assert "images/s over seconds" in chart
    assert line_chart({"a": [(0.0, 1.0)]}, "x", "y") is None


def test_charts_are_the_same_each_time() -> None:
    matrix = np.eye(5, dtype=np.int64)
    assert confusion_chart(matrix) == confusion_chart(matrix)


def test_a_bar_stands_for_each_class() -> None:
    few, many = (class_chart([0.5] * n, [(0.1, 0.1)] * n) for n in (3, 30))
    assert many.count("<path") - few.count("<path") >= 27
