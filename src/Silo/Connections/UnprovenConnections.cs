using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace KvCache.Silo.Connections;

/// <summary>
/// The connections of a listener that have not proved who they are. They have a small number of places of their own, and each address a
/// part of them: who wants one where all are taken gets the place of the one that has waited the longest, of the address that has the most.
/// So silent connections push out one another, and never somebody else.
/// </summary>
/// <param name="most">Places.</param>
/// <param name="mostOfAddress">Places of one address; an IPv6 network of 64 bits counts as one.</param>
internal sealed class UnprovenConnections<T>(int most, int mostOfAddress)
    where T : class
{
    private const int NetworkBytes = 8;

    private readonly Lock _lock = new();
    private readonly List<(T Connection, IPAddress Address)> _waiting = []; // in the order in which they came

    /// <summary>Gives a place to a connection.</summary>
    /// <returns>The connection that has lost its place for that, and has to go; or null.</returns>
    public T? Add(T connection, IPAddress? address)
    {
        var origin = OriginOf(address);
        lock (_lock)
        {
            T? oldest = null;
            if (CountOf(origin) >= mostOfAddress)
                oldest = RemoveOldestOf(origin);
            else if (_waiting.Count >= most)
                oldest = RemoveOldestOf(Largest());
            _waiting.Add((connection, origin));
            return oldest;
        }
    }

    /// <summary>The connection has proved who it is, or has ended.</summary>
    /// <returns>False when it has no place, or no longer.</returns>
    public bool Remove(T connection)
    {
        lock (_lock)
        {
            var index = _waiting.FindIndex(waiting => waiting.Connection == connection);
            if (index < 0)
                return false;
            _waiting.RemoveAt(index);
            return true;
        }
    }

    /// <summary>The connections that wait.</summary>
    public T[] Snapshot()
    {
        lock (_lock)
            return [.. _waiting.Select(waiting => waiting.Connection)];
    }

    /// <summary>What counts as one address. Whoever has an IPv6 address usually has a network of them.</summary>
    internal static IPAddress OriginOf(IPAddress? address)
    {
        if (address is null)
            return IPAddress.None; // a Unix socket
        if (address.IsIPv4MappedToIPv6)
            return address.MapToIPv4();
        if (address.AddressFamily != AddressFamily.InterNetworkV6)
            return address;
        Span<byte> bytes = stackalloc byte[16];
        address.TryWriteBytes(bytes, out _);
        bytes[NetworkBytes..].Clear();
        return new IPAddress(bytes);
    }

    private int CountOf(IPAddress origin)
    {
        var count = 0;
        foreach (var (_, address) in CollectionsMarshal.AsSpan(_waiting))
        {
            if (address.Equals(origin))
                count++;
        }

        return count;
    }

    private IPAddress Largest() => _waiting.GroupBy(waiting => waiting.Address).MaxBy(group => group.Count())!.Key;

    private T RemoveOldestOf(IPAddress origin)
    {
        var index = _waiting.FindIndex(waiting => waiting.Address.Equals(origin));
        var oldest = _waiting[index].Connection;
        _waiting.RemoveAt(index);
        return oldest;
    }
}
