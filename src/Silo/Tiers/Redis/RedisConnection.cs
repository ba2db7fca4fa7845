using System.Globalization;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using KvCache.Engine.Wire;
using KvCache.Silo.Tiers.Payloads;

namespace KvCache.Silo.Tiers.Redis;

/// <summary>
/// The commands that the tier needs, over one connection of its own: blocking calls, each with a deadline, on the thread that owns it.
/// </summary>
/// <remarks>
/// Payloads do not share a multiplexer with anybody: general clients move 32 MiB values at a twentieth of what a socket does, and
/// everything behind such a value waits. After an exception other than <see cref="RedisFailure.Refused"/> the connection must be disposed.
/// </remarks>
internal sealed partial class RedisConnection : IDisposable
{
    // Reading the rest of an unwanted value costs more than a new connection from here on.
    private const long LongestSkip = 1 << 20;

    // A small send before or behind a large one would wake Redis once more, which costs more than copying a few KiB.
    private const int StageBytes = 8 << 10;

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
        var connection = new RedisConnection(RespSocket.Connect(endpoint, socketBuffer, deadline), name);
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
        // Not SET with PX: what comes behind a large argument costs Redis another read.
        _socket.Begin(life > 0 ? 4 : 3, deadline);
        _socket.Argument(life > 0 ? "PSETEX"u8 : "SET"u8);
        _socket.Argument(key);
        if (life > 0)
            _socket.Argument((ulong)life);
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
        _socket.Flush();
        EndWrite();
    }

    private void EndWrite()
    {
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

    /// <summary>Stores a value whose body is sealed on its way, segment by segment.</summary>
    /// <param name="key">Key.</param>
    /// <param name="head">First bytes of the value.</param>
    /// <param name="body">The other bytes, as they are before.</param>
    /// <param name="life">Time to live in milliseconds; 0 for none.</param>
    /// <param name="seal">Seals the body.</param>
    /// <param name="deadline">Limit of the call.</param>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public void SetSealed(
        ReadOnlySpan<byte> key, ReadOnlySpan<byte> head, ReadOnlySpan<byte> body, long life, PayloadSeal seal, Deadline deadline)
    {
        _socket.Begin(life > 0 ? 4 : 3, deadline);
        _socket.Argument(life > 0 ? "PSETEX"u8 : "SET"u8);
        _socket.Argument(key);
        if (life > 0)
            _socket.Argument((ulong)life);
        _socket.AnnounceArgument(head.Length + PayloadSeal.SealedBytes(body.Length));
        _socket.AppendToArgument(head);
        LeftWrite = true;
        _socket.Flush();
        var encrypted = seal.Encrypts ? PinnedBuffers.Segments.Rent() : null;
        try
        {
            // Tag and line end of the value: they travel with the segment.
            Span<byte> tail = stackalloc byte[PayloadKey.MacBytes + 2];
            "\r\n"u8.CopyTo(tail[PayloadKey.MacBytes..]);
            for (var segment = 0; body.Length > 0; segment++)
            {
                var bytes = body[..Math.Min(body.Length, PayloadSeal.SegmentBytes)];
                body = body[bytes.Length..];
                if (encrypted is null)
                    seal.Sign(segment, bytes, tail[..PayloadKey.MacBytes]);
                else
                    seal.Encrypt(segment, bytes, encrypted.AsSpan(0, bytes.Length), tail[..PayloadKey.MacBytes]);
                _socket.SendPayload(
                    encrypted is null ? bytes : encrypted.AsSpan(0, bytes.Length), body.Length > 0 ? tail[..PayloadKey.MacBytes] : tail);
            }
        }
        finally
        {
            if (encrypted is not null)
                PinnedBuffers.Segments.Return(encrypted);
        }

        EndWrite();
    }

    /// <summary>Asks for a value and what is left of its life. The value must then be read or skipped to its end.</summary>
    /// <param name="key">The key.</param>
    /// <param name="life">What was left of the key's life when Redis was asked, by its clock; null when it has no end.</param>
    /// <param name="deadline">Limit of the call.</param>
    /// <returns>Bytes of the value, or -1 when the key does not exist.</returns>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public long Get(ReadOnlySpan<byte> key, out TimeSpan? life, Deadline deadline)
    {
        _socket.Begin(2, deadline);
        Ask(key);
        return BeginValue(out life);
    }

    /// <summary>
    /// Asks for the value that comes behind the one that is being read, so that Redis goes on sending while this end is busy. The next call
    /// must be <see cref="GetAsked"/>.
    /// </summary>
    /// <exception cref="RedisException">The connection broke, or the deadline of the call that runs passed.</exception>
    public void AskAhead(ReadOnlySpan<byte> key)
    {
        _socket.BeginAhead(2);
        Ask(key);
    }

    /// <summary>Begins to read the value that was asked for by <see cref="AskAhead"/>; like <see cref="Get"/> otherwise.</summary>
    /// <exception cref="RedisException">Redis refused, or the connection broke.</exception>
    public long GetAsked(out TimeSpan? life, Deadline deadline)
    {
        _socket.Arm(deadline);
        return BeginValue(out life);
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

    /// <summary>Reads a sealed block out of the value, checks and decrypts it, and computes the checksums of its layers while it
    /// arrives.</summary>
    /// <returns>False when a segment is not one that was sealed; the rest of the value is then still to be skipped.</returns>
    /// <exception cref="RedisException">The connection broke, or the deadline passed.</exception>
    public bool ReadSealed(Span<byte> destination, KvLayout layout, Span<uint> checksums, PayloadSeal seal)
    {
        Span<byte> tag = stackalloc byte[PayloadKey.MacBytes];
        var cursor = new ChecksumCursor(layout, layout.AllLayers, checksums);
        for (var segment = 0; destination.Length > 0; segment++)
        {
            var bytes = destination[..Math.Min(destination.Length, PayloadSeal.SegmentBytes)];
            ReadValue(bytes);
            ReadValue(tag);
            if (!seal.Open(segment, bytes, tag))
                return false;
            cursor.Advance(bytes);
            destination = destination[bytes.Length..];
        }

        return true;
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

        CheckRole(deadline);
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

    /// <summary>Makes sure that this is a server that writes: not a replica, and no part of a Redis Cluster. A server can become either
    /// while a connection to it exists.</summary>
    /// <exception cref="RedisException">It is, or the connection broke.</exception>
    public void CheckRole(Deadline deadline)
    {
        if (InfoField("replication"u8, "role:"u8, deadline) is { } role && role != "master")
            throw RedisException.OfReply("READONLY This is a replica, and the master was expected.");
        if (InfoField("cluster"u8, "cluster_enabled:"u8, deadline) == "1")
            throw RedisException.OfReply(
                "CLUSTER This is a part of a Redis Cluster, which is not supported. Use one Redis, or one with replicas and sentinels.");
    }

    private string? InfoField(ReadOnlySpan<byte> section, ReadOnlySpan<byte> name, Deadline deadline)
    {
        try
        {
            Command("INFO"u8, section, deadline);
            var info = _socket.ReadShortString();
            string? value = null;
            foreach (var range in info.Split("\r\n"u8))
            {
                if (info[range].StartsWith(name))
                    value = Encoding.ASCII.GetString(info[range][name.Length..]);
            }

            _socket.Disarm();
            return value;
        }
        catch (RedisException e) when (e is { Failure: RedisFailure.Refused, Code: "NOPERM" or "ERR" })
        {
            return null; // forbidden or unknown there: writes will tell
        }
    }

    // The life first: nothing may come between it and the value, which can take seconds to arrive. Of a key that ends in between there is
    // a life and no value.
    private void Ask(ReadOnlySpan<byte> key)
    {
        _socket.Argument("PTTL"u8);
        _socket.Argument(key);
        _socket.BeginAhead(2);
        _socket.Argument("GET"u8);
        _socket.Argument(key);
        _socket.Flush();
    }

    private long BeginValue(out TimeSpan? life)
    {
        try
        {
            var left = _socket.ReadNumber(':');
            life = left < 0 ? null : TimeSpan.FromMilliseconds(left);
        }
        catch (RedisException)
        {
            _socket.Abort(); // the answer to the other half is still to come
            throw;
        }

        var length = _socket.ReadNumber('$');
        _valueLeft = length;
        if (length < 0)
            _socket.Disarm();
        return length;
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
