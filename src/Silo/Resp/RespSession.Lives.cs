using KvCache.Engine.Wire;
using KvCache.Silo.Values;

namespace KvCache.Silo.Resp;

/// <content>Lives of keys.</content>
internal sealed partial class RespSession
{
    private const int NoKey = -2, NoLimit = -1;

    internal void SecondsToLive() => TimeToLive(left => (long)Math.Round(left.TotalSeconds, MidpointRounding.AwayFromZero));

    internal void MillisecondsToLive() => TimeToLive(left => (long)left.TotalMilliseconds);

    internal void EndInSeconds() => End(end => (end.ToUnixTimeMilliseconds() + 500) / 1000);

    internal void EndInMilliseconds() => End(end => end.ToUnixTimeMilliseconds());

    internal void ExpireInSeconds() => Expire(TimeSpan.TicksPerSecond, isDate: false);

    internal void ExpireInMilliseconds() => Expire(TimeSpan.TicksPerMillisecond, isDate: false);

    internal void ExpireAtSecond() => Expire(TimeSpan.TicksPerSecond, isDate: true);

    internal void ExpireAtMillisecond() => Expire(TimeSpan.TicksPerMillisecond, isDate: true);

    internal void Persist()
    {
        if (TryKey(1, out var key) && Values.Peek(key) is { ExpiresAt: not null })
            AnswerLife(Values.SetTimeToLive(key, TimeSpan.MaxValue));
        else
            _writer.Integer(0);
    }

    /// <summary>GETEX key [EX | PX | EXAT | PXAT time | PERSIST].</summary>
    internal void GetAndExpire()
    {
        var persists = _arguments.Count == 3 && _arguments.Is(2, "PERSIST"u8);
        var options = default(SetOptions);
        string? error = null;
        if (!persists && !SetOptions.TryParse(_arguments, first: 2, _server.Time.GetUtcNow(), out options, out error, "getex"))
        {
            _writer.Error(error);
            return;
        }

        if (options is { OnlyIfAbsent: true } or { OnlyIfPresent: true } or { Get: true } or { KeepTimeToLive: true })
        {
            SyntaxError();
            return;
        }

        if (!TryFind(1, ValueKind.Bytes, out var lease))
            return;
        using var found = lease;
        var key = lease is null ? default : KeyOf(_arguments[1]);
        var outcome = lease is null ? ItemOutcome.Nothing
            : persists ? Values.SetTimeToLive(key, TimeSpan.MaxValue)
            : options.TimeToLive is not { } life ? ItemOutcome.Done
            : life <= TimeSpan.Zero ? Values.Delete([key])[0]
            : SetLife(key, life);
        if (outcome == ItemOutcome.Unconfirmed)
            AnswerLife(outcome);
        else
            Bulk(lease);
    }

    private void End(Func<DateTimeOffset, long> unit)
    {
        if (!TryKey(1, out var key) || Values.Peek(key) is not { } value)
            _writer.Integer(NoKey);
        else
            _writer.Integer(value.ExpiresAt is { } end ? unit(end) : NoLimit);
    }

    private void TimeToLive(Func<TimeSpan, long> unit)
    {
        if (!TryKey(1, out var key) || Values.Peek(key) is not { } value)
            _writer.Integer(NoKey);
        else if (value.ExpiresAt is not { } end)
            _writer.Integer(NoLimit);
        else
            _writer.Integer(Math.Max(0, unit(end - _server.Time.GetUtcNow())));
    }

    // What is kept from eviction is a lock, and is kept as long as it lives.
    private ItemOutcome SetLife(BlockKey key, TimeSpan life)
    {
        if (Values.IsPinned(key))
            _ = Values.Pin(key, life);
        return Values.SetTimeToLive(key, life);
    }

    /// <summary>EXPIRE key time [NX | XX | GT | LT], and its forms.</summary>
    private void Expire(long unit, bool isDate)
    {
        if (!TryConditions(out var conditions) || !TryInteger(2, out var number))
            return;
        var now = _server.Time.GetUtcNow();
        var latest = isDate ? (DateTime.MaxValue - DateTime.UnixEpoch).Ticks : DateTime.MaxValue.Ticks - now.UtcTicks;
        if (number > latest / unit || number < long.MinValue / unit)
        {
            _writer.Error($"ERR invalid expire time in '{_arguments.Text(0).ToLowerInvariant()}' command");
            return;
        }

        var life = TimeSpan.FromTicks(number * unit) - (isDate ? now - DateTimeOffset.UnixEpoch : TimeSpan.Zero);
        if (!TryKey(1, out var key) || Values.Peek(key) is not { } value || !IsMet(conditions, life, value.ExpiresAt - now))
        {
            _writer.Integer(0);
            return;
        }

        // A time that has passed deletes.
        if (life > TimeSpan.Zero)
            AnswerLife(SetLife(key, life));
        else
            AnswerDeleted(Values.Delete([key]));
    }

    [Flags]
    private enum LifeConditions
    {
        None = 0,
        NotExists = 1,
        Exists = 2,
        Greater = 4,
        Less = 8,
    }

    private bool TryConditions(out LifeConditions conditions)
    {
        conditions = LifeConditions.None;
        for (var i = 3; i < _arguments.Count; i++)
        {
            var condition = _arguments.Is(i, "NX"u8) ? LifeConditions.NotExists
                : _arguments.Is(i, "XX"u8) ? LifeConditions.Exists
                : _arguments.Is(i, "GT"u8) ? LifeConditions.Greater
                : _arguments.Is(i, "LT"u8) ? LifeConditions.Less
                : LifeConditions.None;
            if (condition == LifeConditions.None)
            {
                _writer.Error($"ERR Unsupported option {_arguments.Text(i)}");
                return false;
            }

            conditions |= condition;
        }

        if ((conditions & LifeConditions.NotExists) != 0 && conditions != LifeConditions.NotExists)
        {
            _writer.Error("ERR NX and XX, GT or LT options at the same time are not compatible");
            return false;
        }

        if ((conditions & (LifeConditions.Greater | LifeConditions.Less)) == (LifeConditions.Greater | LifeConditions.Less))
        {
            _writer.Error("ERR GT and LT options at the same time are not compatible");
            return false;
        }

        return true;
    }

    // A value without an end lives longer than any other.
    private static bool IsMet(LifeConditions conditions, TimeSpan life, TimeSpan? left) =>
        ((conditions & LifeConditions.NotExists) == 0 || left is null)
        && ((conditions & LifeConditions.Exists) == 0 || left is not null)
        && ((conditions & LifeConditions.Greater) == 0 || life > (left ?? TimeSpan.MaxValue))
        && ((conditions & LifeConditions.Less) == 0 || life < (left ?? TimeSpan.MaxValue));
}
