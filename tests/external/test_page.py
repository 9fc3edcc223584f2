"""The page in a real browser, Chromium without a window, with hostile names in it; and the server of `watch`."""

from __future__ import annotations

import html
import http.client
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from runs import HOSTILE, hostile, large, tuned, written

from hpo4dl import ArgumentError, JournalError
from hpo4dl.analysis.charts import page_data
from hpo4dl.analysis.page import TEMPLATE, page, server
from hpo4dl.analysis.run import read_run
from hpo4dl.records.journal import encode_line

CHROMIUM = next(filter(None, map(shutil.which, ['chromium', 'chromium-browser', 'google-chrome'])), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason='no Chromium here (Debian: apt-get install chromium)')

# Before and after the page's own script: note errors; then `act`, and the title and errors for the test to read.
BEFORE = """<script>const errors = []; addEventListener('error', e => errors.push(e.message));
addEventListener('securitypolicyviolation', e => errors.push('blocked ' + e.blockedURI));</script>"""
AFTER = """<script>(%s)(); const told = document.createElement('pre'); told.id = 'told';
told.textContent = JSON.stringify({errors, title: document.title, result}); document.body.append(told);</script>"""


def browse(address: str, *options: str) -> str:
    """The document as it stands when its scripts have run."""
    quiet = ['--headless', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=4000', '--window-size=1200,900']
    command = [str(CHROMIUM), *quiet, *options, '--dump-dom', address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def told(folder: Path, run_folder: Path, act: str = 'function() { result = 0; }') -> dict:
    """What the page tells after `act`, a JavaScript function that sets `result`."""
    file = folder / 'page.html'
    text = page(read_run(run_folder)).replace('<title>', BEFORE + '<title>', 1)
    file.write_text(text.replace('</body>', f'<script>let result;</script>{AFTER % act}</body>'), encoding='utf-8')
    document = browse(file.as_uri())
    return json.loads(html.unescape(re.search(r'<pre id="told">(.*?)</pre>', document, re.DOTALL)[1]))


LOOK = """function() {
  const text = selector => [...document.querySelectorAll(selector)].map(e => e.textContent);
  const painted = [...document.querySelectorAll('canvas:first-child')].map(c =>
    c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v));
  const wide = document.documentElement.scrollWidth > innerWidth;
  result = { heads: text('#trials th'), rows: text('#trials tbody tr').length, charts: text('figure h2'), painted, wide,
    incumbent: text('#incumbent dt'), scripts: document.scripts.length, images: document.images.length };
}"""


@needs_chromium
@pytest.mark.parametrize('make', [hostile, large, lambda folder: written(folder, [], stop=False), tuned])
def test_shows_every_run_and_runs_no_name(tmp_path: Path, make) -> None:
    folder = make(tmp_path / 'run "><b>')
    run = read_run(folder)
    seen = told(tmp_path, folder, LOOK)
    assert seen['errors'] == []
    assert seen['title'] == f'{run.name} · hpo4dl'
    result = seen['result']
    assert result['rows'] == min(50, len(run.trials))
    assert len(result['heads']) == 7 + len(run.hyperparameters)
    assert len(result['charts']) == (6 + len(run.hyperparameters) if run.observations else 0)
    assert all(result['painted'])
    assert not result['wide'], 'the page must not be wider than the window'
    assert (result['scripts'], result['images']) == (5, 0), 'a name became markup'
    if make is hostile:
        assert result['incumbent'] == [name if len(name) <= 500 else name[:499] + '…' for name in HOSTILE]


@needs_chromium
def test_sorts_filters_and_points(tmp_path: Path) -> None:
    metrics = [0.5, 0.1, 0.9, 0.3]
    curves = [({'lr': 10.0**-i, 'name': 'ab'[i % 2]}, [m, m], None) for i, m in enumerate(metrics)]
    folder = written(tmp_path / 'run', [*curves, ({'lr': 1.0, 'name': 'a'}, [], 'broke')])
    act = """function() {
      const column = n => [...document.querySelectorAll(`#trials td:nth-child(${n})`)].map(e => e.textContent);
      const click = n => document.querySelector(`#trials th:nth-child(${n}) button`).click();
      result = { first: column(2) };
      click(5); result.byLr = column(2);
      click(5); result.byLrDown = column(2);
      click(3); result.byMetric = column(3);
      const filter = document.getElementById('filter');
      filter.value = 'BROKE'; filter.dispatchEvent(new Event('input')); result.filtered = column(2);
      const canvas = document.querySelector('canvas + canvas'), box = canvas.getBoundingClientRect();
      const at = { clientX: box.left + charts[0].sx(2) + 3, clientY: box.top + charts[0].sy(0.1) - 3 };
      canvas.dispatchEvent(new MouseEvent('mousemove', at));
      result.tip = document.getElementById('tip').textContent;
    }"""
    seen = told(tmp_path, folder, act)
    assert seen['errors'] == []
    result = seen['result']
    assert result['first'] == ['1', '3', '0', '2', '4']  # the failed one last
    assert result['byLr'] == ['3', '2', '1', '0', '4']
    assert result['byLrDown'] == ['0', '4', '1', '2', '3']
    assert result['byMetric'] == ['0.1', '0.3', '0.5', '0.9', '']
    assert result['filtered'] == ['4']
    assert result['tip'].startswith('trial 1: best 0.1 at epoch 1, trained to 2\nlr: 0.1\nname: b')


FILTERS = {
    'adam 32': ['0', '4'],
    'ADAM': ['0', '2', '4'],
    'lr>0.01': ['3', '4'],
    'lr>=0.01 adam': ['2', '4'],
    'lr<=0.001 optimizer=sgd': ['1'],
    'trained>1': ['1', '3'],
    'optimizer!=sgd metric<0.6': ['0'],
    'batch=64': ['1', '2', '3'],
    'broke': ['4'],
    'nothing>1': [],
}


@needs_chromium
def test_words_of_the_filter_are_anded_and_comparisons_work(tmp_path: Path) -> None:
    curves = [
        ({'lr': 0.0001, 'optimizer': 'adam', 'batch': 32}, [0.5], None),
        ({'lr': 0.001, 'optimizer': 'sgd', 'batch': 64}, [0.6, 0.1], None),
        ({'lr': 0.01, 'optimizer': 'adam', 'batch': 64}, [0.9], None),
        ({'lr': 0.1, 'optimizer': 'sgd', 'batch': 64}, [0.3, 0.2, 0.4], None),
        ({'lr': 1.0, 'optimizer': 'adam', 'batch': 32}, [], 'broke'),
    ]
    act = """function() {
      const filter = document.getElementById('filter');
      result = {};
      for (const words of WORDS) {
        filter.value = words; filter.dispatchEvent(new Event('input'));
        result[words] = [...document.querySelectorAll('#trials td:nth-child(2)')].map(e => e.textContent).sort();
      }
    }""".replace('WORDS', json.dumps(list(FILTERS)))
    seen = told(tmp_path, written(tmp_path / 'run', curves), act)
    assert seen['errors'] == []
    assert seen['result'] == FILTERS


@needs_chromium
def test_a_click_pins_a_trial_with_its_curve_and_all_of_its_failure(tmp_path: Path) -> None:
    long = 'RuntimeError: ' + 'x' * 900
    folder = written(tmp_path / 'run', [({'lr': 0.1}, [0.5, 0.4], None), ({'lr': 0.2}, [0.9], long)])
    journal = (folder / 'journal.jsonl').read_bytes().splitlines(keepends=True)
    event = json.loads(journal[-2])
    del event['crc']
    journal[-2] = encode_line({**event, 'traceback': 'Traceback: <b>line</b>\n' + 'y' * 5000})
    (folder / 'journal.jsonl').write_bytes(b''.join(journal))
    act = """function() {
      const rows = () => [...document.querySelectorAll('#trials tbody tr')];
      const text = selector => document.querySelector(selector)?.textContent;
      rows()[1].click();
      result = { rows: rows().length, pinned: text('tr.pinned td:nth-child(2)'), why: text('td.detail') };
      result.trace = text('td.detail pre');
      result.painted = document.querySelectorAll('td.detail canvas').length;
      result.below = rows()[2].contains(document.querySelector('td.detail'));
      rows()[1].click();
      result.after = rows().length;
    }"""
    seen = told(tmp_path, folder, act)
    assert seen['errors'] == []
    result = seen['result']
    assert (result['rows'], result['pinned'], result['painted'], result['below'], result['after']) == (
        3,
        '1',
        2,
        True,
        2,
    )
    assert long in result['why']
    assert result['trace'] == 'Traceback: <b>line</b>\n' + 'y' * 5000


OVERPRINT = """function() {
  const seen = [];
  const original = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = function(text, x, y) {
    const m = this.measureText(text), left = { left: 0, center: m.width / 2, right: m.width }[this.textAlign];
    const top = { top: 0, middle: 5, alphabetic: 9 }[this.textBaseline];
    seen.push([this.canvas, text, x - left, y - top, x - left + m.width, y - top + 10]);
    original.apply(this, arguments);
  };
  charts.forEach(paint);
  result = { together: [], outside: [], texts: seen.length, width: document.documentElement.clientWidth };
  for (const [canvas, text, x, y, u, v] of seen) {
    if (x < -1 || u > canvas.clientWidth + 1 || y < -1 || v > canvas.clientHeight + 2) result.outside.push(text);
    for (const [other, t, a, b, c, d] of seen) {
      if (canvas !== other || t === text) continue;
      if (x < c - 1 && a < u - 1 && y < d - 1 && b < v - 1) result.together.push([text, t]);
    }
  }
}"""


@needs_chromium
@pytest.mark.parametrize('width', [1400, 400])
@pytest.mark.parametrize('make', [tuned, large])
def test_labels_never_overprint_or_leave_the_chart(tmp_path: Path, make, width: int) -> None:
    """In a frame of that width, since a window of Chromium's has 500 pixels at least."""
    file = tmp_path / 'page.html'
    text = page(read_run(make(tmp_path / 'run')))
    act = f"<script>let result; ({OVERPRINT})(); parent.postMessage(JSON.stringify(result), '*');</script></body>"
    file.write_text(text.replace('</body>', act), encoding='utf-8')
    listen = "<script>addEventListener('message', e => { document.body.textContent = e.data; });</script>"
    frame = f'<body><iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>{listen}'
    (tmp_path / 'frame.html').write_text(frame, encoding='utf-8')
    document = browse((tmp_path / 'frame.html').as_uri(), '--allow-file-access-from-files', '--hide-scrollbars')
    result = json.loads(html.unescape(re.search(r'<body>(.*)</body>', document, re.DOTALL)[1]))
    assert result['texts'] > 60
    assert result['width'] == width
    assert result['outside'] == []
    assert result['together'] == []


@needs_chromium
def test_table_of_seven_hyperparameters_needs_no_sideways_scrolling(tmp_path: Path) -> None:
    names = ['learning_rate', 'weight_decay', 'optimizer', 'batch_size', 'num_layers', 'momentum', 'dropout']
    curves = [(dict.fromkeys(names, 0.00012346 * (i + 1)), [0.123456, 0.01 * i], None) for i in range(20)]
    run = written(tmp_path / 'run', [*curves, ({}, [0.3], 'RuntimeError: CUDA out of memory. Tried to allocate 2 GiB')])
    (tmp_path / 'page.html').write_text(page(read_run(run)), encoding='utf-8')
    act = """() => { const box = document.querySelector('.scroll');
      document.body.textContent = JSON.stringify([box.clientWidth, box.scrollWidth]); }"""
    text = (tmp_path / 'page.html').read_text(encoding='utf-8').replace('</body>', f'<script>({act})()</script></body>')
    (tmp_path / 'page.html').write_text(text, encoding='utf-8')
    shown, needed = json.loads(
        re.search(r'<body>(.*)</body>', browse((tmp_path / 'page.html').as_uri(), '--window-size=1400,900'), re.DOTALL)[
            1
        ]
    )
    assert needed <= shown
    assert shown > 1200


def test_every_label_of_a_metric_axis_is_one_that_occurred_or_lies_between(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(20):
        accuracy = 1 - 10.0 ** rng.uniform(-3, 0, size=(30, 3))
        curves = [({'x': float(j)}, row.tolist(), None) for j, row in enumerate(accuracy)]
        run = read_run(written(tmp_path / str(i), curves, minimize=False))
        charts = page_data(run)['charts']
        for name in ('metrics', 'zoom', 'best', 'improvements'):
            assert all(accuracy.min() <= tick <= accuracy.max() for tick in charts[name]['ticks'])
        (_, least), _, (_, most) = charts['parallel'][-1]['marks']
        best = accuracy.max(axis=1)
        assert most == pytest.approx(best.max(), rel=1e-3)
        assert min(abs(best / least - 1)) < 1e-3, 'a metric that some trial had'


def test_asks_for_nothing_from_outside(tmp_path: Path) -> None:
    text = page(read_run(hostile(tmp_path / 'run')))
    assert "default-src 'none'" in text
    template = TEMPLATE.read_text(encoding='utf-8')
    assert not re.search(r'(src|href|url)\s*[=(]|https?://|@import|innerHTML|eval', template)
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1]
    assert '<' not in data
    assert [h['name'] for h in json.loads(data)['hyperparameters']] == HOSTILE


@contextmanager
def serving(folder: Path, poll: int = 50) -> Iterator[int]:
    """The port at which `folder` is served."""
    with server(folder, 0, poll) as at:
        thread = threading.Thread(target=at.serve_forever, kwargs={'poll_interval': 0.05})
        thread.start()
        try:
            yield at.server_address[1]
        finally:
            at.shutdown()
            thread.join()


def get(port: int, path: str, host: str = 'localhost') -> tuple[int, str]:
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
    connection.request('GET', path, headers={'Host': f'{host}:{port}'})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def lengthen(folder: Path, trial: int) -> None:
    """One more trial in the journal, of one epoch."""
    start = {'event': 'start', 'attempt': 0, 'trial': trial, 'previous_epoch': 0, 'epoch': 1, 'time': 2e9}
    result = {'event': 'result', 'attempt': 0, 'trial': trial, 'epochs': [{'epoch': 1, 'metric': 0.1, 'info': {}}]}
    result |= {'failed': None, 'traceback': None, 'seconds': 1.0, 'overhead': 0.0, 'time': 2e9 + 1}
    with open(folder / 'journal.jsonl', 'ab') as journal:
        journal.write(encode_line({**start, 'configuration': {'x': 2.0}}) + encode_line(result))


def test_watch_serves_the_newest_data_to_this_machine_alone(tmp_path: Path) -> None:
    folder = written(tmp_path / 'run', [({'x': 1.0}, [0.5], None)])
    with serving(folder) as port:
        assert get(port, '/')[1].startswith('<!doctype html>')
        status, text = get(port, '/data?have=')
        data = json.loads(text)
        assert (status, len(data['trials'])) == (200, 1)
        assert get(port, '/data?have=' + data['version']) == (204, '')
        lengthen(folder, 1)
        assert len(json.loads(get(port, '/data?have=' + data['version'])[1])['trials']) == 2
        for path in ('/journal.jsonl', '/../run/journal.jsonl', '/data/..', '//etc/passwd'):
            assert get(port, path)[0] == 404
        assert get(port, '/', host='evil.example')[0] == 404  # a name that was made to point here
        shutil.rmtree(folder)
        assert get(port, '/data?have=')[0] == 500


@needs_chromium
def test_watch_refreshes_while_the_run_goes_on(tmp_path: Path) -> None:
    folder = written(tmp_path / 'run', [({'x': 1.0}, [0.5], None)], stop=False)
    done = threading.Event()

    def work() -> None:
        trial = 1
        while not done.wait(0.2):
            lengthen(folder, trial)
            trial += 1

    thread = threading.Thread(target=work)
    with serving(folder, poll=200) as port:
        thread.start()
        try:
            document = browse(f'http://localhost:{port}/', '--timeout=8000')
        finally:
            done.set()
            thread.join()
    at_first = len(json.loads(re.search(r'application/json">(.*?)</script>', document, re.DOTALL)[1])['trials'])
    assert len(re.findall(r'<tr [^>]*data-id=', document)) > at_first


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(JournalError):
        server(tmp_path, 0, 50)
    folder = written(tmp_path / 'run', [({'x': 1.0}, [0.5], None)])
    with pytest.raises(ArgumentError, match='port'):
        server(folder, 70_000, 50)
    with serving(folder) as port, server(folder, port, 50) as other:
        assert other.server_address[1] != port
