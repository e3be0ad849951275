import t from 'tap';
import { Histogram } from '../../src/base/histogram.js';
import { histogramText, formatMicroseconds } from '../../src/cli/front-end-status.js';

t.test('durations by powers of two', async (t) => {
  const histogram = new Histogram();
  t.same(histogram.durations, { count: 0, p50: 0, p99: 0, max: 0, buckets: [] });
  for (const us of [0, 1, 2, 3, 4, 1000, 1023, 1024]) histogram.add(us / 1000);
  const { count, max, buckets } = histogram.durations;
  t.match({ count, max }, { count: 8, max: 1024 });
  t.same(buckets, [1, 1, 2, 1, 0, 0, 0, 0, 0, 0, 2, 1], 'below 1, 2, 4, 8 … 1024, 2048 µs');
  t.equal(histogram.durations.p50, 4, 'half of them took less than 4 µs');
  t.equal(histogram.durations.p99, 1024, 'never more than the longest');
  histogram.add(-1);
  histogram.add(2 ** 40);
  t.equal(histogram.durations.count, 10, 'a clock that jumps is counted, too');
  t.equal(histogram.durations.buckets.at(-1), 1);
});

t.test('for people', async (t) => {
  t.same([0, 999, 1500, 2_500_000].map(formatMicroseconds), ['0 µs', '999 µs', '1.50 ms', '2.50 s']);
  t.equal(histogramText([0, 1, 1000, 500]), ' ▁█▄', 'whatever is there can be seen');
  t.equal(histogramText([]), '');
});
