using KvCache.Caching;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Data;
using KvCache.Silo.Values;

namespace KvCache.Silo.Resp;

/// <content>Values: reading and writing.</content>
internal sealed partial class RespSession
{
    private readonly List<ValueWrite> _writes = [];

    internal void Get()
    {
        if (!TryFind(1, ValueKind.Bytes, out var lease))
            return;
        using (lease)
            Bulk(lease);
    }

    internal void MultipleGet()
    {
        _writer.Array(_arguments.Count - 1);
        for (var i = 1; i < _arguments.Count; i++)
        {
            using var lease = Find(i);
            Bulk(lease is not null && ValueBlocks.KindOf(lease) == ValueKind.Bytes ? lease : null);
        }
    }

    internal void GetRange()
    {
        if (!TryInteger(2, out var first) || !TryInteger(3, out var last))
            return;
        if (!TryFind(1, ValueKind.Bytes, out var found))
            return;
        using var lease = found;
        if (lease is null)
        {
            _writer.Bulk([]);
            return;
        }

        // Negative positions count from the end, at most to the first byte; both ends belong to the range.
        var value = ValueBlocks.ValueOf(lease);
        var crossed = first < 0 && last < 0 && first > last;
        first = Math.Max(0, first < 0 ? value.Length + first : first);
        last = Math.Min(Math.Max(0, last < 0 ? value.Length + last : last), value.Length - 1);
        _writer.Bulk(crossed || first > last ? [] : value.Slice((int)first, (int)(last - first + 1)));
    }

    internal void Length()
    {
        if (!TryKey(1, out var key) || Values.Peek(key) is not { } value)
            _writer.Integer(0);
        else if (value.Kind == ValueKind.Bytes)
            _writer.Integer(value.Length);
        else
            _writer.Error(WrongType);
    }

    /// <summary>SET key value [NX | XX] [GET] [EX | PX | EXAT | PXAT time | KEEPTTL]: the value comes before the options that decide about
    /// it.</summary>
    internal void Set(int count)
    {
        var keyRead = ReadKey();
        using var write = ReceiveValue(keyRead);
        if (!ReadArguments(count - 3))
            return;
        if (!keyRead)
        {
            _writer.Error(BadKey);
            return;
        }

        // The arguments that are kept: the command, the key, the options.
        if (!SetOptions.TryParse(_arguments, first: 2, _server.Time.GetUtcNow(), out var options, out var error))
        {
            _writer.Error(error);
            return;
        }

        var key = KeyOf(_arguments[1]);
        if (options.IsPlain)
        {
            Answer(Replace(write, key, _server.Terms));
            return;
        }

        PutOutcome stored;
        BlockLease? found = null;
        using (_locks.Hold(KeyLocks.Of(key)))
        {
            if (options.Get && !TryFind(1, ValueKind.Bytes, out found))
                return;
            stored = Store(write, key, options);
        }

        using var old = found;
        if (!options.Get || stored is PutOutcome.TooLarge or PutOutcome.Failed || stored.IsNoRoom())
            Answer(stored);
        else
            Bulk(old);
    }

    /// <summary>GETSET key value.</summary>
    internal void GetAndSet()
    {
        var keyRead = ReadKey();
        using var write = ReceiveValue(keyRead);
        if (!keyRead)
        {
            _writer.Error(BadKey);
            return;
        }

        PutOutcome stored;
        BlockLease? found;
        using (_locks.Hold(KeyLocks.Of(KeyOf(_arguments[1]))))
        {
            if (!TryFind(1, ValueKind.Bytes, out found))
                return;
            stored = Finish(write, _server.Terms);
        }

        using var old = found;
        if (stored == PutOutcome.Stored)
            Bulk(old);
        else
            Answer(stored);
    }

    internal void SetIfAbsent()
    {
        var keyRead = ReadKey();
        using var write = ReceiveValue(keyRead);
        var stored = keyRead ? Replace(write, KeyOf(_arguments[1]), _server.Terms with { Replace = false }) : PutOutcome.Failed;
        if (!keyRead)
            _writer.Error(BadKey);
        else if (stored is PutOutcome.TooLarge or PutOutcome.Failed || stored.IsNoRoom())
            Answer(stored);
        else
            _writer.Integer(stored == PutOutcome.Stored ? 1 : 0);
    }

    internal void SetWithSeconds() => SetWithLife(TimeSpan.TicksPerSecond);

    internal void SetWithMilliseconds() => SetWithLife(TimeSpan.TicksPerMillisecond);

    /// <summary>MSET key value …: all values become visible when the last one has arrived, or none does.</summary>
    internal void MultipleSet(int count)
    {
        if (count % 2 == 0)
        {
            Refuse(count - 1, "ERR wrong number of arguments for 'mset' command");
            return;
        }

        string? error = null;
        var keys = 0UL;
        var left = (long)(_server.Options.MaxPendingShare * Values.Capacity);
        try
        {
            for (var pair = 0; pair < count / 2; pair++)
            {
                var keyRead = ReadKey();
                error ??= keyRead ? null : BadKey;
                keys |= keyRead ? KeyLocks.Of(KeyOf(_arguments[1])) : 0;
                var length = _reader.ReadLength();
                left -= Arena.RoundUp(length + 1);
                _reader.WaitForArgument();
                var write = error is null && left >= 0 ? Values.Begin(KeyOf(_arguments[1]), length, _arguments[1]) : null;
                if (write is not null)
                    _writes.Add(write);
                if (write is not { HasMemory: true })
                    error ??= OutOfMemory;
                Receive(write, length);
            }

            if (error is not null)
            {
                _writer.Error(error);
                return;
            }

            using (_locks.Hold(keys))
            {
                foreach (var write in _writes)
                    write.Finish(_server.Terms);
            }

            _writer.Simple("OK"u8);
        }
        finally
        {
            _writes.ForEach(write => write.Dispose());
            _writes.Clear();
        }
    }

    private const int LongestToken = 256;

    private const string WrongType = "WRONGTYPE Operation against a key holding the wrong kind of value";

    private const string OutOfMemory = "OOM command not allowed when used memory > 'maxmemory'.";

    private void Bulk(BlockLease? lease)
    {
        if (lease is null)
            _writer.Null();
        else
            _writer.Bulk(ValueBlocks.ValueOf(lease));
    }

    // False when the key has something else, which is told.
    private bool TryFind(int index, ValueKind kind, out BlockLease? lease)
    {
        lease = Find(index);
        if (lease is null || ValueBlocks.KindOf(lease) == kind)
            return true;
        lease.Dispose();
        lease = null;
        _writer.Error(WrongType);
        return false;
    }

    private BlockLease? Find(int index) => TryKey(index, out var key) ? Values.Find(key) : null;

    // Reads a key behind the command, in the place of an earlier one. False when it is not one that can be stored.
    private bool ReadKey()
    {
        _arguments.Truncate(1);
        var length = _reader.ReadLength();
        var fits = length > 0 && length <= _server.Options.MaxKeyBytes;
        if (fits)
            _reader.ReadExact(_arguments.Add(length));
        else
            _reader.Skip(length);
        _reader.ReadEnd();
        return fits;
    }

    private ValueWrite? ReceiveValue(bool wanted)
    {
        var length = _reader.ReadLength();
        _reader.WaitForArgument();
        var write = wanted ? Values.Begin(KeyOf(_arguments[1]), length, _arguments[1]) : null;
        try
        {
            Receive(write, length);
            return write;
        }
        catch
        {
            write?.Dispose(); // cut off in the middle: nobody will ever see it
            throw;
        }
    }

    private void Receive(ValueWrite? write, int length)
    {
        if (write is { HasMemory: true })
        {
            while (write.Missing > 0)
            {
                _reader.Expect(write.Missing);
                write.Advance(_reader.ReadSome(write.Next));
            }

            _reader.Expect(0);
        }
        else
        {
            _reader.Skip(length);
        }

        _reader.ReadEnd();
    }

    private void SetWithLife(long unit)
    {
        var keyRead = ReadKey();
        if (!ReadArguments(1))
        {
            _reader.SkipArguments(1);
            return;
        }

        using var write = ReceiveValue(keyRead);
        if (!keyRead)
            _writer.Error(BadKey);
        else if (!_arguments.TryInteger(2, out var number))
            _writer.Error("ERR value is not an integer or out of range");
        else if (number <= 0 || number > long.MaxValue / unit)
            _writer.Error($"ERR invalid expire time in '{_arguments.Text(0).ToLowerInvariant()}' command");
        else
            Answer(Replace(write, KeyOf(_arguments[1]), _server.Terms with { TimeToLive = TimeSpan.FromTicks(number * unit) }));
    }

    private PutOutcome Store(ValueWrite? write, BlockKey key, SetOptions options)
    {
        if (options.OnlyIfPresent && !Values.Exists(key))
            return PutOutcome.Revoked;
        var life = options.TimeToLive ?? _server.Terms.TimeToLive;
        if (options.KeepTimeToLive && Values.Peek(key) is { } present)
            life = present.ExpiresAt - _server.Time.GetUtcNow();
        if (life <= TimeSpan.Zero)
        {
            // It would be over before it began: as in Redis, nothing is stored, and what was there is gone.
            return Values.Delete([key])[0] == ItemOutcome.Unconfirmed ? PutOutcome.Failed : PutOutcome.Stored;
        }

        var outcome = Finish(write, _server.Terms with { TimeToLive = life, Replace = !options.OnlyIfAbsent });
        return outcome == PutOutcome.Stored && options is { OnlyIfAbsent: true, TimeToLive: not null } && write!.Length <= LongestToken
            ? Lock(key, life!.Value)
            : outcome;
    }

    // SET key token NX PX time is how a lock is taken: it is kept until its end, or not given. A lock that evicts is none.
    private PutOutcome Lock(BlockKey key, TimeSpan life)
    {
        if (Values.Pin(key, life))
            return PutOutcome.Stored;
        _ = Values.Delete([key]);
        return PutOutcome.NoMemory;
    }

    private PutOutcome Replace(ValueWrite? write, BlockKey key, BlockTerms terms)
    {
        using (_locks.Hold(KeyLocks.Of(key)))
            return Finish(write, terms);
    }

    private static PutOutcome Finish(ValueWrite? write, BlockTerms terms) => write is null ? PutOutcome.Failed : write.Finish(terms);

    private void Answer(PutOutcome outcome)
    {
        switch (outcome)
        {
            case PutOutcome.Stored:
                _writer.Simple("OK"u8);
                break;
            case PutOutcome.TooLarge:
            case var refused when refused.IsNoRoom():
                _writer.Error(OutOfMemory);
                break;
            case PutOutcome.Failed:
                _writer.Error("ERR the value could not be stored; the silo's log says why");
                break;
            default:
                _writer.Null(); // a condition was not met
                break;
        }
    }
}
