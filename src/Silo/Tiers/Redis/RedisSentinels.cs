using System.Net;
using System.Text;

namespace KvCache.Silo.Tiers.Redis;

/// <summary>Sentinels, which know the master of the moment (https://redis.io/docs/latest/develop/reference/sentinel-clients/).</summary>
/// <param name="addresses">Sentinels, in the order in which they are asked.</param>
/// <param name="master">Name of the master.</param>
internal sealed class RedisSentinels(IReadOnlyList<RedisEndpoint> addresses, string master)
{
    // A sentinel that does not answer must not use up the time that the others need.
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(500);

    private int _first;

    /// <summary>Name of the master.</summary>
    public string Master => master;

    /// <summary>Asks for the master's address; the sentinel that answered is asked first the next time.</summary>
    /// <exception cref="RedisException">None of them knows it.</exception>
    public EndPoint Locate(Deadline deadline)
    {
        RedisException? last = null;
        for (var i = 0; i < addresses.Count; i++)
        {
            var index = (Volatile.Read(ref _first) + i) % addresses.Count;
            try
            {
                using var socket = RespSocket.Connect(addresses[index], 0, deadline.OrSooner(Deadline.After(Patience)));
                if (Ask(socket, addresses[index], deadline.OrSooner(Deadline.After(Patience))) is { } found)
                {
                    Volatile.Write(ref _first, index);
                    return found;
                }

                last = new RedisException(RedisFailure.Unreachable, $"The sentinel at {addresses[index].Text} knows no master '{master}'.");
            }
            catch (RedisException e)
            {
                last = new RedisException(e.Failure, $"The sentinel at {addresses[index].Text} does not tell the master: {e.Message}", e);
            }
        }

        throw last!;
    }

    private EndPoint? Ask(RespSocket socket, RedisEndpoint sentinel, Deadline deadline)
    {
        if (sentinel.Password is { } password)
        {
            socket.Begin(2, deadline);
            socket.Argument("AUTH"u8);
            socket.Argument(Encoding.UTF8.GetBytes(password));
            socket.Flush();
            socket.ReadLine('+');
        }

        socket.Begin(3, deadline);
        socket.Argument("SENTINEL"u8);
        socket.Argument("get-master-addr-by-name"u8);
        socket.Argument(Encoding.UTF8.GetBytes(master));
        socket.Flush();
        if (socket.ReadNumber('*') != 2)
            return null;
        var host = Encoding.UTF8.GetString(socket.ReadShortString());
        return RedisEndpoint.ParseAddress($"{host}:{Encoding.UTF8.GetString(socket.ReadShortString())}");
    }
}
