using System.IO.Compression;
using KvCache.Encodings.Planes;
using ZstdSharp;

namespace KvCache.Encodings;

/// <summary>Compression of one payload between spans: the caller's memory bounds every output, in both directions.</summary>
internal static class PayloadCompression
{
    /// <summary>Compresses <paramref name="source"/> if the result fits the destination.</summary>
    /// <param name="source">The stored elements.</param>
    /// <param name="destination">Receives the payload; its length is the limit.</param>
    /// <param name="compression">Compression.</param>
    /// <param name="level">Level, checked.</param>
    /// <param name="type">Type of the stored elements.</param>
    /// <param name="shape">Shape of the tensor.</param>
    /// <returns>Bytes written, or 0 when the result would not fit; the destination's content is undefined then.</returns>
    public static int Compress(
        ReadOnlySpan<byte> source, Span<byte> destination, TensorCompression compression, int level, KvDataType type, TensorShape shape)
    {
        if (compression == TensorCompression.FloatPlanes)
            return FloatPlaneCodec.Takes(type) ? FloatPlaneCodec.Compress(source, destination, FloatPlaneCodec.ChunkElements(shape)) : 0;
        if (compression == TensorCompression.GZip)
            return CompressGZip(source, destination, level);
        using var compressor = new Compressor(level);
        return compressor.TryWrap(source, destination, out var written) ? written : 0;
    }

    /// <summary>Decompresses exactly as many bytes as the destination holds.</summary>
    /// <returns>Null, or what is wrong with the source.</returns>
    public static string? Decompress(ReadOnlySpan<byte> source, Span<byte> destination, TensorCompression compression)
    {
        if (compression == TensorCompression.FloatPlanes)
            return FloatPlaneCodec.Decompress(source, destination);
        try
        {
            var written = compression == TensorCompression.GZip
                ? DecompressGZip(source, destination)
                : DecompressZstd(source, destination);
            return written == destination.Length
                ? null
                : $"The {compression} payload decompresses to {(written < 0 ? "more" : "fewer")} than the {destination.Length} bytes that "
                    + "the header says.";
        }
        catch (Exception e) when (e is ZstdException or InvalidDataException or IOException)
        {
            return $"The {compression} payload is malformed: {e.Message}";
        }
    }

    private static int DecompressZstd(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        using var decompressor = new Decompressor();
        return decompressor.TryUnwrap(source, destination, out var written) ? written : -1;
    }

    private static unsafe int DecompressGZip(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        fixed (byte* start = source)
        {
            using var input = new UnmanagedMemoryStream(start, source.Length);
            using var gzip = new GZipStream(input, CompressionMode.Decompress);
            var written = gzip.ReadAtLeast(destination, destination.Length, throwOnEndOfStream: false);
            // One byte more tells a bomb from the end, and makes the stream check the trailer.
            return gzip.ReadByte() < 0 ? written : -1;
        }
    }

    private static unsafe int CompressGZip(ReadOnlySpan<byte> source, Span<byte> destination, int level)
    {
        fixed (byte* start = destination)
        {
            using var output = new BoundedStream(start, destination.Length);
            using (var gzip = new GZipStream(output, new ZLibCompressionOptions { CompressionLevel = level }, leaveOpen: true))
                gzip.Write(source);
            return output.Overflowed ? 0 : (int)output.Position;
        }
    }
}
