using System.ComponentModel.DataAnnotations;
using System.Net;

namespace KvCache.Silo.Options;

/// <summary>What a front end of the silo bears from its connections.</summary>
internal abstract class ConnectionOptions
{
    /// <summary>Most connections at a time that have proved who they are. Default 512; each costs a thread with a small stack. Further ones
    /// are told and closed.</summary>
    [Range(1, 65_536)]
    public int MaxConnections { get; set; } = 512;

    /// <summary>
    /// Time that a frame (a request, with its answer) may take beyond what <see cref="MinBytesPerSecond"/> allows for its size. Default 20
    /// s: a peer that stops in the middle of one loses its connection then.
    /// </summary>
    [Range(typeof(TimeSpan), "00:00:00.100", "01:00:00")]
    public TimeSpan FrameTimeout { get; set; } = TimeSpan.FromSeconds(20);

    /// <summary>Slowest tolerated transfer, in bytes a second. Default 1 MiB/s.</summary>
    [Range(1, long.MaxValue)]
    public long MinBytesPerSecond { get; set; } = 1 << 20;

    /// <summary>
    /// Time that a connection may do nothing. Default 10 minutes on the data plane, where clients connect anew by themselves, and a day for
    /// protocols whose clients do not expect it. Half-open connections end then at the latest.
    /// </summary>
    [Range(typeof(TimeSpan), "00:00:01", "7.00:00:00")]
    public TimeSpan IdleTimeout { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>Time for authentication, from the first moment on and whatever is sent meanwhile. Default 5 s.</summary>
    [Range(typeof(TimeSpan), "00:00:00.100", "00:10:00")]
    public TimeSpan HandshakeTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Places for connections that have not proved who they are, beside <see cref="MaxConnections"/>. Default 256. When all are taken, who
    /// has waited the longest of the address that has the most makes room for a new one.
    /// </summary>
    [Range(1, 100_000)]
    public int MaxUnproven { get; set; } = 256;

    /// <summary>Places of one address among <see cref="MaxUnproven"/>. Default 64; an IPv6 network of 64 bits counts as one
    /// address.</summary>
    [Range(1, 100_000)]
    public int MaxUnprovenPerAddress { get; set; } = 64;

    /// <summary>
    /// Kernel send and receive buffer of a connection. Default 0: 1 MiB for Unix sockets, which moves large blocks up to a third
    /// faster than the kernel's choice, and the kernel's own tuning for TCP.
    /// </summary>
    public ByteSize SocketBuffer { get; set; }

    /// <summary>Checks what attributes cannot say.</summary>
    /// <param name="section">Section of the configuration, for the message.</param>
    protected IEnumerable<ValidationResult> ValidateBuffer(string section)
    {
        if (SocketBuffer.Bytes is < 0 or > 1 << 30)
            yield return new ValidationResult($"{section}:SocketBuffer is {SocketBuffer}; 0 to 1GiB was expected.", [nameof(SocketBuffer)]);
    }

    /// <summary>Whether a setting is an address that only this machine reaches.</summary>
    internal static bool IsLoopback(string address) =>
        !ListenAddress.TryParse(address, out var endpoint) || IPAddress.IsLoopback(endpoint.Address);
}
