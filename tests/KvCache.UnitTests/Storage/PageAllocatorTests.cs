using CsCheck;
using KvCache.Engine.Storage;
using KvCache.Testing;
using Xunit;

namespace KvCache.UnitTests;

public sealed class PageAllocatorTests
{
    private const int MaxPages = 600;

    // Kind of the operation and a number that it interprets: pages, or which of the runs it holds.
    private static readonly Gen<(int Kind, int Number)[]> Operations =
        Gen.Select(Gen.Int[0, 9], Gen.OneOf(Gen.Int[1, 20], Gen.Int[1, MaxPages])).Array[0, 150];

    [Fact]
    public void Every_operation_does_what_a_bitmap_does() =>
        Operations.Sample(operations =>
        {
            var allocator = new PageAllocator(MaxPages);
            var model = new Bitmap();
            foreach (var (kind, number) in operations)
            {
                switch (kind)
                {
                    case 0 when number <= MaxPages - allocator.Pages:
                        allocator.Grow(number);
                        model.Grow(number);
                        break;
                    case <= 5:
                        model.Allocated(allocator.Allocate(number), PageAllocator.RoundUp(number));
                        break;
                    case <= 8 when model.Runs.Count > 0:
                        var start = model.Runs.Keys[number % model.Runs.Count];
                        allocator.Free(start);
                        model.Free(start);
                        break;
                    case 9 when !model.Runs.ContainsKey(number):
                        Assert.Throws<ArgumentException>(() => allocator.Free(number));
                        break;
                }

                model.Check(allocator);
            }

            foreach (var start in model.Runs.Keys)
                allocator.Free(start);
            Assert.Equal(allocator.Pages, allocator.FreePages);
            Assert.Equal(allocator.Pages, allocator.LargestFreeRun());
            Assert.Equal(allocator.Pages == 0 ? 0 : 1, allocator.FreeRuns);
        }, iter: Depth.Of(1000));

    [Fact]
    public void Rounding_loses_at_most_a_64th_and_nothing_on_what_was_rounded() =>
        Gen.Int[1, 1 << 28].Sample(pages =>
        {
            var rounded = PageAllocator.RoundUp(pages);
            Assert.InRange(rounded, pages, pages + (pages / 64));
            Assert.Equal(rounded, PageAllocator.RoundUp(rounded));
        });

    [Fact]
    public void Powers_of_two_and_their_sixty_fourths_are_not_rounded()
    {
        for (var power = 1; power <= 1 << 20; power *= 2)
            Assert.Equal(power, PageAllocator.RoundUp(power));
        Assert.Equal(127, PageAllocator.RoundUp(127));
        Assert.Equal(8192 + 128, PageAllocator.RoundUp(8192 + 1));
    }

    [Fact]
    public void A_run_is_freed_once()
    {
        var allocator = new PageAllocator(8);
        allocator.Grow(8);
        int first = allocator.Allocate(2), second = allocator.Allocate(2);
        allocator.Free(first);
        allocator.Free(second);
        Assert.Throws<ArgumentException>(() => allocator.Free(second));
        Assert.Throws<ArgumentException>(() => allocator.Free(first));
        Assert.Equal(8, allocator.FreePages);
    }

    [Fact]
    public void A_run_is_freed_at_its_first_page_only()
    {
        var allocator = new PageAllocator(8);
        allocator.Grow(8);
        var run = allocator.Allocate(4);
        Assert.Throws<ArgumentException>(() => allocator.Free(run + 3));
        Assert.Throws<ArgumentException>(() => allocator.Free(run + 1));
        Assert.Throws<ArgumentException>(() => allocator.Free(8));
        Assert.Throws<ArgumentException>(() => allocator.Free(-1));
    }

    [Fact]
    public void Requests_out_of_bounds_are_refused_or_errors()
    {
        var allocator = new PageAllocator(100);
        Assert.Equal(-1, allocator.Allocate(1));
        allocator.Grow(100);
        Assert.Equal(-1, allocator.Allocate(int.MaxValue));
        Assert.Throws<ArgumentOutOfRangeException>(() => allocator.Allocate(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => allocator.Grow(1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new PageAllocator(0));
    }

    [Fact]
    public void Runs_follow_one_another()
    {
        var allocator = new PageAllocator(100);
        allocator.Grow(100);
        int first = allocator.Allocate(10), second = allocator.Allocate(20);
        allocator.Free(first);
        var runs = new List<(int, int, bool)>();
        for (int at = 0, length; allocator.TryGetRun(at, out length, out var free); at += length)
            runs.Add((at, length, free));
        Assert.Equal([(0, 10, true), (second, 20, false), (30, 70, true)], runs);
    }

    private sealed class Bitmap
    {
        private readonly List<bool> _used = [];

        public SortedList<int, int> Runs { get; } = [];

        public void Grow(int pages) => _used.AddRange(new bool[pages]);

        public void Allocated(int start, int length)
        {
            Assert.Equal(FreeRuns().Any(run => run >= length), start >= 0);
            if (start < 0)
                return;
            Assert.DoesNotContain(true, _used.GetRange(start, length));
            Set(start, length, true);
            Runs.Add(start, length);
        }

        public void Free(int start)
        {
            Set(start, Runs[start], false);
            Runs.Remove(start);
        }

        public void Check(PageAllocator allocator)
        {
            var free = FreeRuns();
            Assert.Equal(_used.Count, allocator.Pages);
            Assert.Equal(free.Sum(), allocator.FreePages);
            Assert.Equal(free.Count, allocator.FreeRuns);
            Assert.Equal(free.DefaultIfEmpty().Max(), allocator.LargestFreeRun());
            Assert.All(Runs, run => Assert.Equal(run.Value, allocator.RunLength(run.Key)));
        }

        private List<int> FreeRuns()
        {
            var runs = new List<int>();
            for (var page = 0; page < _used.Count; page++)
            {
                if (_used[page])
                    continue;
                if (page == 0 || _used[page - 1])
                    runs.Add(0);
                runs[^1]++;
            }

            return runs;
        }

        private void Set(int start, int length, bool used)
        {
            for (var page = start; page < start + length; page++)
                _used[page] = used;
        }
    }
}
