using KvCache.Engine.Storage;
using KvCache.Silo.Tiers;
using KvCache.UnitTests.Storage;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>A life that is set holds for what is on its way too.</summary>
public sealed class RecentLivesTests : IDisposable
{
    private static readonly TimeSpan Short = TimeSpan.FromSeconds(2), Long = TimeSpan.FromHours(1);

    // The holder of the block, and the silo that takes a copy of it.
    private readonly StoreFixture _fixture = new(pages: 8);
    private readonly RecentLives _lives;
    private readonly ulong _sent;

    public RecentLivesTests()
    {
        _lives = new RecentLives(_fixture.Store, _fixture.Time);
        _sent = _fixture.Store.NewGeneration();
    }

    public void Dispose() => _fixture.Dispose();

    [Theory]
    [InlineData(2)]
    [InlineData(7200)]
    public void A_copy_that_was_sent_before_a_life_was_set_gets_that_life(int seconds)
    {
        Assert.False(_lives.Set(StoreFixture.Key(1), TimeSpan.FromSeconds(seconds), _fixture.Store.NewGeneration()));
        _fixture.Time.Advance(TimeSpan.FromSeconds(1));

        Assert.Equal(PublishOutcome.Published, Arrive(1, _sent, told: Long));

        Assert.Equal(TimeSpan.FromSeconds(seconds - 1), LeftOf(1));
    }

    [Fact]
    public void A_copy_that_comes_behind_the_end_of_the_life_is_not_published()
    {
        _lives.Set(StoreFixture.Key(1), Short, _fixture.Store.NewGeneration());
        _fixture.Time.Advance(Short);

        Assert.True(_lives.LeftOf(StoreFixture.Key(1), _sent, Long) <= TimeSpan.Zero);
        Assert.Null(Arrive(1, _sent, told: Long));
        Assert.False(_fixture.Store.Contains(StoreFixture.Key(1)));
    }

    [Fact]
    public void A_life_without_an_end_holds_for_a_copy_too()
    {
        _lives.Set(StoreFixture.Key(1), TimeSpan.MaxValue, _fixture.Store.NewGeneration());
        Assert.Equal(PublishOutcome.Published, Arrive(1, _sent, told: Short));
        Assert.Null(LeftOf(1));
    }

    [Fact]
    public void What_is_here_lives_as_long_from_now_on()
    {
        _fixture.Put(1, life: Long);
        Assert.True(_lives.Set(StoreFixture.Key(1), Short, _fixture.Store.NewGeneration()));
        Assert.Equal(Short, LeftOf(1));
    }

    [Fact]
    public void What_is_stored_anew_lives_as_long_as_its_writer_says()
    {
        _lives.Set(StoreFixture.Key(1), Short, _fixture.Store.NewGeneration());

        Assert.Equal(PublishOutcome.Published, Arrive(1, _fixture.Store.NewGeneration(), told: Long));

        Assert.Equal(Long, LeftOf(1));
    }

    // Its silo has not heard of later generations here; whether it was stored before the change or behind it, nobody can say.
    [Theory]
    [InlineData(1, 5, 1)]
    [InlineData(9, 5, 5)]
    public void What_may_have_been_stored_anew_by_a_silo_whose_clock_is_behind_lives_no_longer_than_either_says(
        int set, int told, int expected)
    {
        var stamp = _fixture.Store.NewGeneration();
        var between = _fixture.Store.NewGeneration();
        _fixture.Store.NewGeneration();
        _lives.Set(StoreFixture.Key(1), TimeSpan.FromSeconds(set), stamp);

        Assert.Equal(PublishOutcome.Published, Arrive(1, between, TimeSpan.FromSeconds(told)));

        Assert.Equal(TimeSpan.FromSeconds(expected), LeftOf(1));
    }

    [Fact]
    public void Of_two_lives_the_later_one_counts_in_whatever_order_they_come()
    {
        var (first, second) = (_fixture.Store.NewGeneration(), _fixture.Store.NewGeneration());
        _fixture.Put(2, life: Long);
        foreach (var key in new[] { 1, 2 })
        {
            _lives.Set(StoreFixture.Key(key), Short, second);
            Assert.Equal(key == 2, _lives.Set(StoreFixture.Key(key), 2 * Long, first));
        }

        Arrive(1, _sent, told: Long);

        Assert.Equal((Short, Short), (LeftOf(1), LeftOf(2)));
    }

    [Fact]
    public void Lives_are_remembered_for_a_minute_and_bounded()
    {
        _lives.Set(StoreFixture.Key(1), Short, _fixture.Store.NewGeneration());
        _fixture.Time.Advance(RecentLives.Remembered + TimeSpan.FromSeconds(1));
        for (var key = 2; key < RecentLives.MaxRemembered + 10; key++)
            _lives.Set(StoreFixture.Key(key), Short, _fixture.Store.NewGeneration());

        Assert.Equal(RecentLives.MaxRemembered, _lives.Count);
        Assert.Equal(Long, _lives.LeftOf(StoreFixture.Key(1), _sent, Long));
    }

    private PublishOutcome? Arrive(int key, ulong generation, TimeSpan told)
    {
        using var write = _fixture.Store.TryReserve(StoreFixture.Key(key), StoreFixture.Layout(1), default, generation);
        return _lives.Publish(write!, told, default);
    }

    private TimeSpan? LeftOf(int key)
    {
        using var lease = _fixture.Store.TryLease(StoreFixture.Key(key));
        return lease!.ExpiresAt - _fixture.Time.GetUtcNow();
    }
}
