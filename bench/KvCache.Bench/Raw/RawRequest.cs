using System.Runtime.InteropServices;

namespace KvCache.Bench.Raw;

/// <summary>What a raw client asks of the raw server.</summary>
internal enum RawOperation
{
    /// <summary>First request of a connection: <see cref="RawRequest.Bytes"/> is the socket buffer, <see cref="RawRequest.Count"/> 1 for
    /// reno. Answered by an acknowledgement.</summary>
    Tune,

    /// <summary>Send me <see cref="RawRequest.Count"/> blocks of <see cref="RawRequest.Bytes"/>. Answered by exactly those bytes.</summary>
    Get,

    /// <summary>So many blocks follow. Answered by an acknowledgement once all have arrived.</summary>
    Put,
}

/// <summary>The only frame of the raw loop, in the byte order of the host: both ends are this program.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct RawRequest(RawOperation Operation, int Count, long Bytes)
{
    /// <summary>Bytes of an acknowledgement.</summary>
    public const int AckBytes = 8;
}
