using CsCheck;
using KvCache.TorchSharp;

namespace KvCache.ModelTests;

public sealed class SamplingTests
{
    private static readonly float[] Logits = [0.1f, 2.5f, -1, 2.4f, 0, 1.5f];

    private static int[] Draw(SamplingOptions options, int count)
    {
        var sampler = new TokenSampler(options);
        return [.. Enumerable.Range(0, count).Select(_ => sampler.Next(Logits))];
    }

    [Fact]
    public void Greedy_takes_the_highest_and_among_equals_the_first()
    {
        Assert.Equal(1, new TokenSampler(SamplingOptions.Greedy).Next(Logits));
        Assert.Equal(1, new TokenSampler(SamplingOptions.Greedy).Next([0, 3, 3]));
    }

    [Fact]
    public void Equal_seeds_draw_equal_tokens()
    {
        var options = new SamplingOptions { Temperature = 1, TopP = 0.95f, Seed = 42 };

        Assert.Equal(Draw(options, 200), Draw(options, 200));
        Assert.NotEqual(Draw(options, 200), Draw(options with { Seed = 43 }, 200));
    }

    [Fact]
    public void The_tokens_of_a_seed_are_the_same_in_every_process() =>
        Assert.Equal([1, 5, 3, 1, 1, 3, 1, 5, 4, 5, 2, 5], Draw(new SamplingOptions { Temperature = 1, Seed = 7 }, 12));

    [Fact]
    public void Tokens_come_as_often_as_their_probability_says()
    {
        var drawn = Draw(new SamplingOptions { Temperature = 1, Seed = 1 }, 20_000);

        var total = Logits.Sum(x => Math.Exp(x));
        for (var token = 0; token < Logits.Length; token++)
            Assert.Equal(Math.Exp(Logits[token]) / total, drawn.Count(t => t == token) / 20_000.0, tolerance: 0.015);
    }

    [Fact]
    public void Top_p_keeps_only_the_nucleus()
    {
        Assert.All(Draw(new SamplingOptions { Temperature = 1, TopP = 0.6f, Seed = 1 }, 500),
            token => Assert.Contains(token, new[] { 1, 3 }));
        Assert.All(Draw(new SamplingOptions { Temperature = 1, TopP = 0.0001f, Seed = 1 }, 100), token => Assert.Equal(1, token));
    }

    [Fact]
    public void A_token_without_a_finite_logit_is_never_chosen() =>
        (from values in Gen.OneOf(
            Gen.Float[-10, 10], Gen.Const(float.NaN), Gen.Const(float.NegativeInfinity), Gen.Const(float.PositiveInfinity)).Array[1, 20]
         from temperature in Gen.Float[0, 2]
         from topP in Gen.Float[0.01f, 1]
         select (values, temperature, topP)).Sample(x =>
         {
             var sampler = new TokenSampler(new SamplingOptions { Temperature = x.temperature, TopP = x.topP, Seed = 3 });
             if (x.values.Any(float.IsFinite))
                 Assert.True(float.IsFinite(x.values[sampler.Next(x.values)]));
             else
                 Assert.Throws<ArgumentException>(() => sampler.Next(x.values));
         });

    [Theory]
    [InlineData(-1, 1)]
    [InlineData(float.NaN, 1)]
    [InlineData(101, 1)]
    [InlineData(1, 0)]
    [InlineData(1, 1.5f)]
    [InlineData(1, float.NaN)]
    public void Options_out_of_range_are_refused(float temperature, float topP) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new TokenSampler(new SamplingOptions { Temperature = temperature, TopP = topP }));
}
