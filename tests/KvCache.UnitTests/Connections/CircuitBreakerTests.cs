using KvCache.Engine.Resilience;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class CircuitBreakerTests
{
    private static readonly TimeSpan Delay = TimeSpan.FromSeconds(1);

    private readonly ManualTime _time = new();
    private readonly CircuitBreaker _breaker;

    public CircuitBreakerTests() => _breaker = new CircuitBreaker(failures: 3, Delay, _time);

    [Fact]
    public void It_opens_when_failures_follow_each_other()
    {
        Assert.False(_breaker.Failed());
        Assert.False(_breaker.Failed());
        Assert.True(_breaker.TryEnter());
        Assert.True(_breaker.Failed());
        Assert.True(_breaker.IsOpen);
        Assert.False(_breaker.TryEnter());
    }

    [Fact]
    public void A_success_between_failures_keeps_it_closed()
    {
        for (var i = 0; i < 10; i++)
        {
            Assert.False(_breaker.Failed());
            Assert.False(_breaker.Failed());
            _breaker.Succeeded();
        }

        Assert.False(_breaker.IsOpen);
    }

    [Fact]
    public void After_its_delay_one_call_may_try()
    {
        Open();
        _time.Advance(Delay - TimeSpan.FromTicks(1));
        Assert.False(_breaker.TryEnter());
        _time.Advance(TimeSpan.FromTicks(1));
        Assert.True(_breaker.TryEnter());
        Assert.False(_breaker.TryEnter());
    }

    [Fact]
    public void A_try_that_succeeds_closes_it_for_all()
    {
        Open();
        _time.Advance(Delay);
        Assert.True(_breaker.TryEnter());
        _breaker.Succeeded();
        Assert.False(_breaker.IsOpen);
        Assert.True(_breaker.TryEnter());
        Assert.True(_breaker.TryEnter());
        Assert.False(_breaker.Failed());
    }

    [Fact]
    public void Every_try_that_fails_doubles_the_delay_up_to_half_a_minute()
    {
        Open();
        foreach (var seconds in new[] { 1, 2, 4, 8, 16, 30, 30 })
        {
            _time.Advance(TimeSpan.FromSeconds(seconds) - TimeSpan.FromTicks(1));
            Assert.False(_breaker.TryEnter());
            _time.Advance(TimeSpan.FromTicks(1));
            Assert.True(_breaker.TryEnter());
            Assert.False(_breaker.Failed());
            Assert.True(_breaker.IsOpen);
        }

        _time.Advance(TimeSpan.FromSeconds(30));
        Assert.True(_breaker.TryEnter());
        _breaker.Succeeded();
        Open();
        _time.Advance(Delay);
        Assert.True(_breaker.TryEnter());
    }

    [Fact]
    public void A_try_that_its_caller_left_lets_the_next_one_try()
    {
        Open();
        _time.Advance(Delay);
        Assert.True(_breaker.TryEnter());
        _breaker.Left();
        Assert.True(_breaker.TryEnter());
    }

    [Fact]
    public void Failures_of_calls_that_began_before_it_opened_change_nothing()
    {
        Open();
        Assert.False(_breaker.Failed());
        _time.Advance(Delay);
        Assert.True(_breaker.TryEnter());
    }

    private void Open()
    {
        for (var i = 0; i < 3; i++)
            _breaker.Failed();
        Assert.True(_breaker.IsOpen);
    }
}
