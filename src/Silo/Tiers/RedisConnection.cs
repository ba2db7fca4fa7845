using System.Buffers.Text;
using System.Globalization;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using KvCache.Wire;

namespace KvCache.Silo;

/// <summary>
/// The commands that the tier needs, over one connection of its own: blocking calls, each with a deadline, on the thread that owns it.
/// </summary>
/// <remarks>
/// Payloads do not share a multiplexer with anybody: general clients move 32 MiB values at a twentieth of what a socket does, and
/// everything behind such a value waits. After an exception other than <see cref="RedisFailure.Refused"/> the connection must be disposed.
/// </remarks>
internal sealed class RedisConnection : IDisposable
{
    // Reading the rest of an unwanted value costs more than a new connection from here on.
    private const long LongestSkip = 1 << 20;

    // A small send before or behind a large one would wake Redis once more, which costs more than copying a few KiB.
    private const int StageBytes = 8 << 10;

    // The key's life first: Redis lets a script that has written go on when it has no memory left. A time that has passed deletes the key,
    // and SETRANGE would make another. What is not a payload of this version is left alone.
    private static readonly byte[] SetLivesScript = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $$"""
        local done = {}
        for i = 1, #KEYS / 2 do
          local key = KEYS[2 * i - 1]
          done[i] = '0'
          if redis.pcall('GETRANGE', key, 0, {{PayloadFormat.MarkBytes - 1}}) == ARGV[#ARGV] and redis.call('STRLEN', key) >= {{PayloadFormat.FixedBytes}} then
            redis.call('PEXPIREAT', key, ARGV[2 * i - 1])
            redis.call('PEXPIREAT', KEYS[2 * i], ARGV[2 * i - 1])
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

    private readonly RespSocket _socket;
    private long _valueLeft;

    private RedisConnection(RespSocket socket, string name)
    {
        _socket = socket;
        Name = name;
    }

    /// <summary>Whether another call may be made.</summary>
    public bool IsUsable => _socket.IsUsable;

    /// <summary>A name that no other connection has, as Redis knows it.</summary>
    public string Name { get; }

    /// <summary>Redis' id of the connection; 0 where it does not tell.</summary>
    public long Id { get; private set; }

    /// <summary>A SET was begun and nobody knows whether Redis has executed it, or still will.</summary>
    public bool LeftWrite { get; private set; }

    /// <summary>Connects, authenticates and chooses the database.</summary>
    /// <exception cref="RedisException">Redis cannot be reached, or refused.</exception>
    public static RedisConnection Connect(RedisEndpoint endpoint, int socketBuffer, Deadline deadline)
    {
        var name = "kvcache-" + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8));
        var connection = new RedisConnection(RespSocket.Connect(endpoint.Address, socketBuffer, deadline), name);
        try
        {
            connection.Introduce(endpoint, deadline);
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <summary>Stores a value that is sent from where it lies.</summary>
    /// <param name="key">Key.</param>
    /// <param name="head">First bytes of the value.</param>
    /// <param name="body">The other bytes.</param>
    /// <param name="life">Time to live in milliseconds; 0 for none.</param>
    /// <param name="deadline">Limit of the call.</param>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public void Set(ReadOnlySpan<byte> key, ReadOnlySpan<byte> head, ReadOnlySpan<byte> body, long life, Deadline deadline)
    {
        _socket.Begin(life > 0 ? 5 : 3, deadline);
        _socket.Argument("SET"u8);
        _socket.Argument(key);
        _socket.AnnounceArgument((long)head.Length + body.Length);
        _socket.AppendToArgument(head);
        var front = body[..Math.Min(body.Length, StageBytes)];
        var back = body[front.Length..];
        back = back[Math.Max(0, back.Length - StageBytes)..];
        LeftWrite = true;
        _socket.AppendToArgument(front);
        if (back.Length > 0)
        {
            _socket.Flush();
            _socket.SendPayload(body[front.Length..^back.Length]);
            _socket.AppendToArgument(back);
        }

        _socket.EndArgument();
        if (life > 0)
        {
            _socket.Argument("PX"u8);
            _socket.Argument((ulong)life);
        }

        _socket.Flush();
        try
        {
            EndWithStatus();
        }
        catch (RedisException e) when (e.Failure == RedisFailure.Refused)
        {
            LeftWrite = false;
            throw;
        }

        LeftWrite = false;
    }

    /// <summary>Asks for a value, which must then be read or skipped to its end.</summary>
    /// <returns>Bytes of the value, or -1 when the key does not exist.</returns>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public long Get(ReadOnlySpan<byte> key, Deadline deadline)
    {
        _socket.Begin(2, deadline);
        _socket.Argument("GET"u8);
        _socket.Argument(key);
        _socket.Flush();
        var length = _socket.ReadNumber('$');
        _valueLeft = length;
        if (length < 0)
            _socket.Disarm();
        return length;
    }

    /// <summary>Reads the next bytes of the value.</summary>
    /// <exception cref="RedisException">The connection broke, or the deadline passed.</exception>
    public void ReadValue(Span<byte> destination)
    {
        _valueLeft -= destination.Length;
        while (destination.Length > 0)
            destination = destination[_socket.ReadSome(destination)..];
    }

    /// <summary>Reads a block out of the value and computes the checksums of its layers while it arrives.</summary>
    /// <exception cref="RedisException">The connection broke, or the deadline passed.</exception>
    public void ReadLayers(Span<byte> destination, KvLayout layout, Span<uint> checksums)
    {
        _valueLeft -= destination.Length;
        var cursor = new ChecksumCursor(layout, layout.AllLayers, checksums);
        while (destination.Length > 0)
        {
            var got = _socket.ReadSome(destination[..Math.Min(destination.Length, FrameSocket.ChunkBytes)]);
            cursor.Advance(destination[..got]);
            destination = destination[got..];
        }
    }

    /// <summary>Ends a value, skipping what was not read. After a long rest the connection is not usable any more.</summary>
    /// <exception cref="RedisException">The connection broke, or the deadline passed.</exception>
    public void EndValue()
    {
        if (_valueLeft > LongestSkip)
        {
            _socket.Abort();
            return;
        }

        _socket.Skip(_valueLeft);
        _socket.ReadEnd();
        _socket.Disarm();
    }

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
    /// <param name="deadline">Limit of the call.</param>
    /// <returns>For every block whether Redis has it, and it lives so long now.</returns>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public bool[] SetLives(IReadOnlyCollection<LifeChange> changes, RedisKeySpace names, Deadline deadline)
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
            _socket.Argument((ulong)change.ExpiresAt);
            PayloadFormat.WriteLife(life, change.ExpiresAt);
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

    /// <summary>Asks for a sign of life.</summary>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public void Ping(Deadline deadline)
    {
        _socket.Begin(1, deadline);
        _socket.Argument("PING"u8);
        _socket.Flush();
        EndWithStatus();
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

    /// <summary>Ends the connection, from any thread.</summary>
    public void Abort() => _socket.Abort();

    public void Dispose() => _socket.Dispose();

    private void Introduce(RedisEndpoint endpoint, Deadline deadline)
    {
        if (endpoint.Password is { } password)
        {
            _socket.Begin(endpoint.User is null ? 2 : 3, deadline);
            _socket.Argument("AUTH"u8);
            if (endpoint.User is { } user)
                _socket.Argument(Encoding.UTF8.GetBytes(user));
            _socket.Argument(Encoding.UTF8.GetBytes(password));
            _socket.Flush();
            EndWithStatus();
        }

        if (endpoint.Database != 0)
        {
            Command("SELECT"u8, Encoding.ASCII.GetBytes(endpoint.Database.ToString(CultureInfo.InvariantCulture)), deadline);
            EndWithStatus();
        }

        try
        {
            _socket.Begin(3, deadline);
            _socket.Argument("CLIENT"u8);
            _socket.Argument("SETNAME"u8);
            _socket.Argument(Encoding.ASCII.GetBytes(Name));
            _socket.Flush();
            EndWithStatus();
            Command("CLIENT"u8, "ID"u8, deadline);
            Id = EndWithNumber();
        }
        catch (RedisException e) when (e.Failure == RedisFailure.Refused && e.Code is "NOPERM" or "ERR")
        {
            // Forbidden or unknown there. Only a write that breaks off while its block is being deleted would need it.
        }
    }

    private void AppendNames(BlockKey key, RedisKeySpace names)
    {
        names.Write(key, _socket.TakeArgument(names.KeyBytes));
        names.WriteDescriptor(key, _socket.TakeArgument(names.DescriptorKeyBytes));
    }

    private void Command(ReadOnlySpan<byte> name, ReadOnlySpan<byte> argument, Deadline deadline)
    {
        _socket.Begin(2, deadline);
        _socket.Argument(name);
        _socket.Argument(argument);
        _socket.Flush();
    }

    private void EndWithStatus()
    {
        _socket.ReadLine('+');
        _socket.Disarm();
    }

    private long EndWithNumber()
    {
        var number = _socket.ReadNumber(':');
        _socket.Disarm();
        return number;
    }
}

/// <summary>A connection that was given up within a SET, which Redis may still find in its buffers.</summary>
/// <param name="ConnectionName">Name of the connection.</param>
/// <param name="ConnectionId">Redis' id of it.</param>
internal readonly record struct AbandonedWrite(string ConnectionName, long ConnectionId);
