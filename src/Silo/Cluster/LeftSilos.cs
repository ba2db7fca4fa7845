using System.Net.Sockets;
using KvCache.Engine.Wire;

namespace KvCache.Silo.Cluster;

/// <summary>
/// Silos that were removed and may still let blocks be read: one that was declared dead may live, cut off, and not know it before its term
/// is over (<see cref="CutOffWatch"/>). One whose address refuses connections is gone, and is not waited for.
/// </summary>
/// <param name="limit">How long a silo serves that hears of nobody.</param>
internal sealed class LeftSilos(TimeSpan limit)
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);

    private readonly Lock _lock = new();
    private Task _silent = Task.CompletedTask;

    /// <summary>Ends when nobody who has left lets anything be read any more.</summary>
    public Task Silent
    {
        get
        {
            lock (_lock)
                return _silent;
        }
    }

    /// <summary>A silo was removed that may not know it.</summary>
    /// <param name="endpoints">Its data plane; empty when it never told.</param>
    public void Add(IReadOnlyList<string> endpoints)
    {
        lock (_lock)
            _silent = Task.WhenAll(_silent, UntilSilentAsync(endpoints));
    }

    private async Task UntilSilentAsync(IReadOnlyList<string> endpoints)
    {
        using var over = new CancellationTokenSource(limit);
        try
        {
            while (!await RefusesAsync(endpoints, over.Token).ConfigureAwait(false))
                await Task.Delay(Pause, over.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // Silent by now in any case.
        }
    }

    private static async Task<bool> RefusesAsync(IReadOnlyList<string> endpoints, CancellationToken over)
    {
        foreach (var endpoint in endpoints.Select(SiloEndpoint.TryParse).OfType<SiloEndpoint>())
        {
            try
            {
                using var socket = endpoint.CreateSocket();
                await socket.ConnectAsync(endpoint.EndPoint, over).ConfigureAwait(false);
                return false;
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
            {
                return true;
            }
            catch (SocketException)
            {
                return false; // out of reach, and nobody knows for whom else
            }
        }

        return false;
    }
}
