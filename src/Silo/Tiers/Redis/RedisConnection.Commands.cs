using System.Buffers.Text;
using System.Globalization;
using System.Text;
using KvCache.Silo.Tiers.Payloads;
using KvCache.Silo.Tiers.Persisting;

namespace KvCache.Silo.Tiers.Redis;

/// <content>Everything but payloads.</content>
internal sealed partial class RedisConnection
{
    // The key's life first: Redis lets a script that has written go on when it has no memory left. Nothing left deletes the key, and
    // SETRANGE would make another. What is not a payload that this version reads is left alone. What is left is told, and no time of day:
    // clocks of silos and Redis may differ.
    private static readonly byte[] SetLivesScript = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $$"""
        local done = {}
        for i = 1, #KEYS / 2 do
          local key = KEYS[2 * i - 1]
          done[i] = '0'
          if redis.pcall('GETRANGE', key, 0, {{PayloadFormat.MarkBytes - 1}}) == ARGV[#ARGV] and redis.call('STRLEN', key) >= {{PayloadFormat.FixedBytes}} then
            redis.call('PEXPIRE', key, ARGV[2 * i - 1])
            redis.call('PEXPIRE', KEYS[2 * i], ARGV[2 * i - 1])
            if redis.call('EXISTS', key) == 1 then
              redis.call('SETRANGE', key, {{PayloadFormat.LifeOffset}}, ARGV[2 * i])
              done[i] = '1'
            end
          end
        end
        return table.concat(done)
        """));

    private static readonly byte[] AlignScript = """
        local left = redis.call('PTTL', KEYS[1])
        return left > 0 and redis.call('PEXPIRE', KEYS[2], left) or 0
        """u8.ToArray();

    /// <summary>Deletes payloads and their descriptors; Redis gives the memory back in the background.</summary>
    /// <returns>How many of both existed.</returns>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public long Unlink(IReadOnlyCollection<BlockKey> keys, RedisKeySpace names, Deadline deadline)
    {
        _socket.Begin(1 + (keys.Count * 2), deadline);
        _socket.Argument("UNLINK"u8);
        foreach (var key in keys)
            AppendNames(key, names);
        _socket.Flush();
        return EndWithNumber();
    }

    /// <summary>Whether a key exists.</summary>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public bool Exists(ReadOnlySpan<byte> key, Deadline deadline)
    {
        Command("EXISTS"u8, key, deadline);
        return EndWithNumber() > 0;
    }

    /// <summary>Milliseconds that a key has to live; -1 when without end, -2 when there is no such key.</summary>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public long TimeToLive(ReadOnlySpan<byte> key, Deadline deadline)
    {
        Command("PTTL"u8, key, deadline);
        return EndWithNumber();
    }

    /// <summary>Changes when payloads end: the life of their keys and their descriptors', and what the payload says of it.</summary>
    /// <param name="changes">Blocks and their new ends.</param>
    /// <param name="names">Keys of the blocks.</param>
    /// <param name="now">The time in Unix milliseconds, by the clock of the ends.</param>
    /// <param name="sealing">Seals the new ends; null for nobody.</param>
    /// <param name="deadline">Limit of the call.</param>
    /// <returns>For every block whether Redis has it, and it lives so long now.</returns>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public bool[] SetLives(
        IReadOnlyCollection<LifeChange> changes, RedisKeySpace names, long now, PayloadKey? sealing, Deadline deadline)
    {
        Span<byte> life = stackalloc byte[PayloadFormat.LifeBytes];
        _socket.Begin(4 + (changes.Count * 4), deadline);
        _socket.Argument("EVAL"u8);
        _socket.Argument(SetLivesScript);
        _socket.Argument((ulong)changes.Count * 2);
        foreach (var change in changes)
            AppendNames(change.Key, names);
        foreach (var change in changes)
        {
            _socket.Argument((ulong)Math.Max(0, change.ExpiresAt - now));
            PayloadFormat.WriteLife(life, change.Key, change.ExpiresAt, sealing);
            _socket.Argument(life);
        }

        PayloadFormat.WriteMarks(_socket.TakeArgument(PayloadFormat.MarkBytes));
        _socket.Flush();
        var reply = _socket.ReadShortString();
        var applied = new bool[reply.Length];
        for (var i = 0; i < applied.Length; i++)
            applied[i] = reply[i] == '1';
        _socket.Disarm();
        return applied;
    }

    /// <summary>Makes a descriptor live as long as its payload.</summary>
    /// <returns>False when either is not there, or the payload's life has no end.</returns>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public bool AlignDescriptor(BlockKey key, RedisKeySpace names, Deadline deadline)
    {
        _socket.Begin(5, deadline);
        _socket.Argument("EVAL"u8);
        _socket.Argument(AlignScript);
        _socket.Argument(2);
        AppendNames(key, names);
        _socket.Flush();
        return EndWithNumber() > 0;
    }

    /// <summary>Keys of the database, whoever they belong to.</summary>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public long CountKeys(Deadline deadline)
    {
        _socket.Begin(1, deadline);
        _socket.Argument("DBSIZE"u8);
        _socket.Flush();
        return EndWithNumber();
    }

    /// <summary>One page of all keys.</summary>
    /// <param name="cursor">0 to begin with; 0 again when the page was the last.</param>
    /// <param name="names">Keys to look for.</param>
    /// <param name="effort">Keys that Redis looks at.</param>
    /// <param name="page">Receives the blocks whose keys were found. One key may come twice.</param>
    /// <param name="deadline">Limit of the call.</param>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public ulong Scan(ulong cursor, RedisKeySpace names, int effort, List<BlockKey> page, Deadline deadline)
    {
        _socket.Begin(6, deadline);
        _socket.Argument("SCAN"u8);
        _socket.Argument(cursor);
        _socket.Argument("MATCH"u8);
        _socket.Argument(names.Pattern);
        _socket.Argument("COUNT"u8);
        _socket.Argument((ulong)effort);
        _socket.Flush();
        if (_socket.ReadNumber('*') != 2 || !Utf8Parser.TryParse(_socket.ReadShortString(), out ulong next, out _))
            throw _socket.OutOfStep("SCAN returns a cursor and keys");
        for (var left = _socket.ReadNumber('*'); left > 0; left--)
        {
            if (names.TryParse(_socket.ReadShortString(), out var key))
                page.Add(key);
        }

        _socket.Disarm();
        return next;
    }

    /// <summary>Memory that Redis uses, and its limit or 0 for none.</summary>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public (long Used, long Limit) Memory(Deadline deadline)
    {
        Command("INFO"u8, "memory"u8, deadline);
        var info = _socket.ReadShortString();
        var result = (Field(info, "used_memory:"u8), Field(info, "maxmemory:"u8));
        _socket.Disarm();
        return result;

        static long Field(ReadOnlySpan<byte> info, ReadOnlySpan<byte> name)
        {
            foreach (var range in info.Split("\r\n"u8))
            {
                if (info[range].StartsWith(name) && Utf8Parser.TryParse(info[range][name.Length..], out long value, out _))
                    return value;
            }

            return 0;
        }
    }

    /// <summary>Ends another connection at Redis, if that still has it: what it had sent is then never executed.</summary>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public void Kill(AbandonedWrite write, Deadline deadline)
    {
        // Ids begin anew when Redis restarts; the name tells whether it is the connection that is meant.
        _socket.Begin(4, deadline);
        _socket.Argument("CLIENT"u8);
        _socket.Argument("LIST"u8);
        _socket.Argument("ID"u8);
        _socket.Argument((ulong)write.ConnectionId);
        _socket.Flush();
        var found = Encoding.UTF8.GetString(_socket.ReadShortString()).Contains($" name={write.ConnectionName} ", StringComparison.Ordinal);
        _socket.Disarm();
        if (!found)
            return;
        _socket.Begin(4, deadline);
        _socket.Argument("CLIENT"u8);
        _socket.Argument("KILL"u8);
        _socket.Argument("ID"u8);
        _socket.Argument((ulong)write.ConnectionId);
        _socket.Flush();
        EndWithNumber();
    }

    /// <summary>Runs a script that returns a number.</summary>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public long EvaluateNumber(ReadOnlySpan<byte> script, ReadOnlySpan<byte> key, string[] arguments, Deadline deadline)
    {
        Evaluate(script, key, arguments, deadline);
        return EndWithNumber();
    }

    /// <summary>Runs a script that returns texts, each of at most 4 KB.</summary>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public string[] EvaluateList(ReadOnlySpan<byte> script, ReadOnlySpan<byte> key, string[] arguments, Deadline deadline)
    {
        Evaluate(script, key, arguments, deadline);
        var texts = new string[_socket.ReadNumber('*')];
        for (var i = 0; i < texts.Length; i++)
            texts[i] = Encoding.UTF8.GetString(_socket.ReadShortString());
        _socket.Disarm();
        return texts;
    }

    private void Evaluate(ReadOnlySpan<byte> script, ReadOnlySpan<byte> key, string[] arguments, Deadline deadline)
    {
        _socket.Begin(4 + arguments.Length, deadline);
        _socket.Argument("EVAL"u8);
        _socket.Argument(script);
        _socket.Argument(1);
        _socket.Argument(key);
        foreach (var argument in arguments)
            _socket.Argument(Encoding.UTF8.GetBytes(argument));
        _socket.Flush();
    }

    private void AppendNames(BlockKey key, RedisKeySpace names)
    {
        names.Write(key, _socket.TakeArgument(names.KeyBytes));
        names.WriteDescriptor(key, _socket.TakeArgument(names.DescriptorKeyBytes));
    }
}
