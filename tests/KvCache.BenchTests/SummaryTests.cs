using KvCache.Bench.Measuring;

namespace KvCache.BenchTests;

public sealed class SummaryTests
{
    [Fact]
    public void An_odd_number_of_rounds_has_its_middle_as_median() =>
        Assert.Equal(new Summary(2, 1, 9), Summary.Of([9, 1, 2]));

    [Fact]
    public void An_even_number_of_rounds_has_the_mean_of_its_two_middles_as_median() =>
        Assert.Equal(new Summary(2.5, 1, 9), Summary.Of([9, 1, 2, 3]));

    [Fact]
    public void Ratios_are_taken_within_a_round_before_their_median()
    {
        // A slow second round hits both alike; the ratio of the medians would be 8 / 4 = 2 as well, but min and max would not be.
        var ratio = Summary.OfRatios([8, 1, 10], [4, 0.5, 4]);
        Assert.Equal(new Summary(2, 2, 2.5), ratio);
    }

    [Fact]
    public void Unequal_numbers_of_rounds_are_refused() =>
        Assert.Throws<ArgumentException>(() => Summary.OfRatios([1, 2], [1]));

    [Fact]
    public void No_rounds_have_no_summary() =>
        Assert.Throws<ArgumentException>(() => Summary.Of([]));
}
