using KvCache.Eviction;
using Xunit;

namespace KvCache.UnitTests;

public sealed class GittinsIndexTests
{
    [Fact]
    public void It_is_the_best_of_all_horizons()
    {
        var random = new Random(1);
        var hazard = new float[AgeScale.Buckets];
        var scores = new float[AgeScale.Buckets];
        for (var round = 0; round < 200; round++)
        {
            for (var i = 0; i < hazard.Length; i++)
                hazard[i] = (float)Math.Pow(random.NextDouble(), 3) / 2;
            GittinsIndex.Compute(hazard, scores);
            for (var from = 0; from + 1 < hazard.Length; from++)
                Assert.Equal(BestOfAll(hazard, from), scores[from], BestOfAll(hazard, from) * 1e-3);
        }
    }

    [Fact]
    public void Equal_hazards_make_it_fall_with_age_as_lru_does()
    {
        var hazard = new float[AgeScale.Buckets];
        var scores = new float[AgeScale.Buckets];
        Array.Fill(hazard, 0.08f);
        GittinsIndex.Compute(hazard, scores);
        for (var i = 2; i < hazard.Length; i++)
            Assert.True(scores[i] < scores[i - 1]);
    }

    [Fact]
    public void Ages_are_in_the_bucket_between_whose_bounds_they_are()
    {
        for (var bucket = 0; bucket < AgeScale.Buckets; bucket++)
        {
            Assert.Equal(bucket, AgeScale.Of(AgeScale.Start(bucket)));
            if (bucket + 1 < AgeScale.Buckets)
                Assert.Equal(bucket, AgeScale.Of(AgeScale.Start(bucket + 1) - 1));
        }

        Assert.Equal(0, AgeScale.Of(-1));
        Assert.Equal(AgeScale.Buckets - 1, AgeScale.Of(long.MaxValue));
    }

    private static double BestOfAll(float[] hazard, int from)
    {
        double survival = 1, cost = 0, best = 0;
        for (var i = from; i + 1 < hazard.Length; i++)
        {
            var next = survival * (1 - hazard[i]);
            cost += AgeScale.Width(i) * (survival + next) / 2000;
            survival = next;
            best = Math.Max(best, (1 - survival) / cost);
        }

        return best;
    }
}
