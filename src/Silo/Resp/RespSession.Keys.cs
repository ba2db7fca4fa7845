using KvCache.Engine.Index;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Resp;

/// <content>Keys: whether they are there, for how long, which ones.</content>
internal sealed partial class RespSession
{
    private const int KeysPerDelete = 1024;
    private const int DefaultScanCount = 10;

    private readonly List<BlockKey> _scanned = [];

    internal void Exists()
    {
        var count = 0;
        for (var i = 1; i < _arguments.Count; i++)
            count += TryKey(i, out var key) && Values.Exists(key) ? 1 : 0;
        _writer.Integer(count);
    }

    internal void Delete()
    {
        var keys = new HashSet<BlockKey>();
        for (var i = 1; i < _arguments.Count; i++)
        {
            if (TryKey(i, out var key))
                keys.Add(key);
        }

        AnswerDeleted(keys.Count == 0 ? [] : Values.Delete([.. keys]));
    }

    // As Redis says it where too few replicas take part.
    private void AnswerDeleted(ItemOutcome[] outcomes)
    {
        if (outcomes.Contains(ItemOutcome.Unconfirmed))
            _writer.Error("NOREPLICAS A silo, or Redis, that may have a key did not confirm its deletion; it goes on in the background");
        else
            _writer.Integer(outcomes.Count(outcome => outcome == ItemOutcome.Done));
    }

    private void AnswerLife(ItemOutcome outcome)
    {
        if (outcome == ItemOutcome.Unconfirmed)
            _writer.Error("NOREPLICAS A silo, or Redis, that may have the key did not confirm its life; there it keeps the old one");
        else
            _writer.Integer(outcome == ItemOutcome.Done ? 1 : 0);
    }

    internal void Type()
    {
        if (TryKey(1, out var key) && Values.Exists(key))
            _writer.Simple("string"u8);
        else
            _writer.Simple("none"u8);
    }

    internal void SecondsToLive() => TimeToLive(left => (long)Math.Round(left.TotalSeconds));

    internal void MillisecondsToLive() => TimeToLive(left => (long)left.TotalMilliseconds);

    internal void ExpireInSeconds() => Expire(TimeSpan.TicksPerSecond);

    internal void ExpireInMilliseconds() => Expire(TimeSpan.TicksPerMillisecond);

    /// <summary>
    /// SCAN cursor [MATCH pattern] [COUNT n] [TYPE t]: the values of this silo. The cursor is a shard of its index, so that it means the
    /// same on every connection and costs nothing to keep; values that stay from beginning to end are told exactly once.
    /// </summary>
    internal void Scan()
    {
        if (!_arguments.TryInteger(1, out var position) || position is < 0 or > int.MaxValue)
        {
            _writer.Error("ERR invalid cursor");
            return;
        }

        if (!TryScanOptions(out var pattern, out var count, out var strings))
            return;
        var cursor = (int)position;
        var found = new RespArguments();
        var label = new byte[_server.Options.MaxKeyBytes];
        bool more;
        do
        {
            _scanned.Clear();
            more = Values.Directory.Index.ReadKeys(BlockDirectory.Self, ref cursor, _scanned);
            foreach (var key in _scanned)
            {
                if (key.Namespace != _namespace || !strings || Values.CopyLabel(key, label) is not (> 0 and var length))
                    continue;
                if (pattern < 0 || GlobPattern.IsMatch(_arguments[pattern], label.AsSpan(0, length)))
                    label.AsSpan(0, length).CopyTo(found.Add(length));
            }
        }
        while (more && found.Count < count);
        _scanned.Clear();
        _scanned.TrimExcess();
        _writer.Array(2);
        _writer.Bulk(more ? cursor.ToString(System.Globalization.CultureInfo.InvariantCulture) : "0");
        _writer.Array(found.Count);
        for (var i = 0; i < found.Count; i++)
            _writer.Bulk(found[i]);
    }

    internal void Count() => _writer.Integer(CountKeys());

    internal void Flush()
    {
        if (!_server.Options.AllowFlush)
        {
            _writer.Error($"NOPERM User {_user} has no permissions to run the '{_arguments.Text(0).ToLowerInvariant()}' command");
            return;
        }

        // What other silos and Redis have goes too: the index knows of all of it.
        var doomed = new HashSet<BlockKey>();
        for (var holder = 0; holder < PrefixIndex.MaxHolders; holder++)
            ForEachShard(holder, key => doomed.Add(key));
        ItemOutcome[] outcomes = [.. doomed.Chunk(KeysPerDelete).SelectMany(Values.Delete)];
        if (outcomes.Contains(ItemOutcome.Unconfirmed))
            AnswerDeleted(outcomes);
        else
            _writer.Simple("OK"u8);
    }

    private long CountKeys()
    {
        var count = 0L;
        ForEachShard(BlockDirectory.Self, _ => count++);
        return count;
    }

    private void ForEachShard(int holder, Action<BlockKey> visit)
    {
        if (Values.Directory.Index.CountOf(holder) == 0)
            return;
        var cursor = 0;
        while (Values.Directory.Index.ReadKeys(holder, ref cursor, _scanned))
        {
            foreach (var key in _scanned)
            {
                if (key.Namespace == _namespace)
                    visit(key);
            }

            _scanned.Clear();
        }

        _scanned.TrimExcess();
    }

    private bool TryScanOptions(out int pattern, out long count, out bool strings)
    {
        (pattern, count, strings) = (-1, DefaultScanCount, true);
        for (var i = 2; i < _arguments.Count; i += 2)
        {
            if (i + 1 == _arguments.Count)
            {
                SyntaxError();
                return false;
            }

            if (_arguments.Is(i, "MATCH"u8))
            {
                pattern = i + 1;
            }
            else if (_arguments.Is(i, "TYPE"u8))
            {
                strings = _arguments.Is(i + 1, "string"u8); // there is nothing else
            }
            else if (!_arguments.Is(i, "COUNT"u8))
            {
                SyntaxError();
                return false;
            }
            else if (!TryInteger(i + 1, out count))
            {
                return false;
            }
            else if (count < 1)
            {
                SyntaxError();
                return false;
            }
        }

        return true;
    }

    private void TimeToLive(Func<TimeSpan, long> unit)
    {
        const int NoKey = -2, NoLimit = -1;
        if (!TryKey(1, out var key) || Values.Peek(key) is not { } value)
            _writer.Integer(NoKey);
        else if (value.ExpiresAt is not { } end)
            _writer.Integer(NoLimit);
        else
            _writer.Integer(Math.Max(0, unit(end - _server.Time.GetUtcNow())));
    }

    /// <summary>EXPIRE key time [NX | XX | GT | LT].</summary>
    private void Expire(long unit)
    {
        if (!TryInteger(2, out var number))
            return;
        if (number > (DateTime.MaxValue.Ticks - _server.Time.GetUtcNow().UtcTicks) / unit || number < long.MinValue / unit)
        {
            _writer.Error($"ERR invalid expire time in '{_arguments.Text(0).ToLowerInvariant()}' command");
            return;
        }

        var life = TimeSpan.FromTicks(number * unit);
        if (!TryKey(1, out var key) || Values.Peek(key) is not { } value)
        {
            _writer.Integer(0);
            return;
        }

        for (var i = 3; i < _arguments.Count; i++)
        {
            // A value without an end lives longer than any other.
            var left = value.ExpiresAt is { } end ? end - _server.Time.GetUtcNow() : TimeSpan.MaxValue;
            bool? met = _arguments.Is(i, "NX"u8) ? value.ExpiresAt is null
                : _arguments.Is(i, "XX"u8) ? value.ExpiresAt is not null
                : _arguments.Is(i, "GT"u8) ? life > left
                : _arguments.Is(i, "LT"u8) ? life < left
                : null;
            if (met is null)
            {
                _writer.Error($"ERR Unsupported option {_arguments.Text(i)}");
                return;
            }

            if (met == false)
            {
                _writer.Integer(0);
                return;
            }
        }

        // A time that has passed deletes.
        if (life > TimeSpan.Zero)
            AnswerLife(Values.SetTimeToLive(key, life));
        else
            AnswerDeleted(Values.Delete([key]));
    }
}
