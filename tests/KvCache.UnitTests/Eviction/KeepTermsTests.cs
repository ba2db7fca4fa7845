using KvCache.Eviction;
using Xunit;

namespace KvCache.UnitTests;

public sealed class KeepTermsTests
{
    [Theory]
    [InlineData(1, 60)]
    [InlineData(60, 60)]
    [InlineData(61, 120)]
    [InlineData(300, 300)]
    [InlineData(3600, 3600)]
    [InlineData(7 * 86_400, 7 * 86_400)]
    [InlineData(1_000_000_000, 7 * 86_400)]
    public void A_retention_is_rounded_up_to_a_step(int asked, int granted) =>
        Assert.Equal(granted * 1000L, KeepTerms.Of(null, TimeSpan.FromSeconds(asked)).Retention);

    [Fact]
    public void Ten_points_are_a_factor_of_four_and_50_is_the_usual()
    {
        Assert.Equal(4f, KeepTerms.Of(60, default).Weigh(1, 0));
        Assert.Equal(1024f, KeepTerms.Of(100, default).Weigh(1, 0));
        Assert.Equal(1 / 1024f, KeepTerms.Of(0, default).Weigh(1, 0));
        Assert.Equal(1f, KeepTerms.Of(50, default).Weigh(1, 0));
        Assert.Equal(0, KeepTerms.Of(50, default).Packed);
        Assert.True(KeepTerms.Of(50, default).IsTold);
        Assert.False(default(KeepTerms).IsTold);
    }

    [Fact]
    public void What_is_retained_goes_behind_all_else_until_its_time_is_over_and_its_priority_ends_with_it()
    {
        var kept = KeepTerms.Of(0, TimeSpan.FromMinutes(1));
        Assert.True(kept.Order(0, 59_000) > KeepTerms.Of(100, default).Order(16, 0));
        Assert.True(KeepTerms.Of(10, TimeSpan.FromMinutes(1)).Order(0.01f, 0) > kept.Order(0.01f, 0));
        Assert.Equal(0.01f, kept.Order(0.01f, 60_000));
        Assert.Equal(default, kept.After(60_000));
        Assert.Equal(kept, kept.After(59_999));
        Assert.Equal(kept, KeepTerms.Unpack(kept.Packed));
    }
}
