using System.Diagnostics;
using KvCache.Client.Scatter;
using KvCache.LLamaSharp.States;

namespace KvCache.LLamaSharp;

/// <content>One restore.</content>
public sealed partial class LLamaPrefixCache
{
    /// <summary>Imports blocks, in order, piece by piece: the next piece arrives while one is imported.</summary>
    private sealed class Restore(LLamaPrefixCache owner, KvPrefix prefix, int sequence, int firstBlock, int endBlock, CacheMatch match)
    {
        private readonly NativeMemoryBlock[] _memory = [owner._buffers.Rent(), owner._buffers.Rent()];

        /// <summary>Blocks that are in the sequence.</summary>
        public int Blocks { get; private set; }

        public TimeSpan LoadTime { get; private set; }

        public TimeSpan ImportTime { get; private set; }

        /// <returns>Why not all; <see cref="MissReason.None"/> when all are there.</returns>
        public async ValueTask<MissReason> RunAsync(CancellationToken cancellationToken)
        {
            var next = LoadAsync(firstBlock, _memory[0], cancellationToken);
            try
            {
                while (true)
                {
                    var waited = Stopwatch.GetTimestamp();
                    var piece = await next.ConfigureAwait(false);
                    LoadTime += Stopwatch.GetElapsedTime(waited);
                    var end = piece.First + piece.Blocks.Length;
                    var isLast = end == endBlock || piece.Result.Blocks < piece.Blocks.Length;
                    if (!isLast)
                        next = LoadAsync(end, piece.Memory == _memory[0] ? _memory[1] : _memory[0], cancellationToken);
                    var reason = await ImportAsync(piece, cancellationToken).ConfigureAwait(false);
                    if (reason != MissReason.None || isLast)
                        return reason != MissReason.None ? reason : piece.Result.Reason;
                }
            }
            finally
            {
                // What is under way writes our memory until it has returned.
                await ((Task)next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                foreach (var memory in _memory)
                    owner._buffers.Return(memory);
            }
        }

        private async Task<Piece> LoadAsync(int first, NativeMemoryBlock memory, CancellationToken cancellationToken)
        {
            var blocks = owner._buffers.Blocks(memory, Math.Min(owner._buffers.BlocksOfPiece, endBlock - first));
            var result = await owner.AskAsync(
                () => owner._cache.LoadAsync(prefix, first, blocks, match: match, cancellationToken: cancellationToken),
                new LoadResult(0, MissReason.Unavailable), cancellationToken).ConfigureAwait(false);
            return new Piece(first, memory, blocks, result with { Blocks = Math.Clamp(result.Blocks, 0, blocks.Length) });
        }

        private async ValueTask<MissReason> ImportAsync(Piece piece, CancellationToken cancellationToken)
        {
            var reason = MissReason.None;
            await owner.UseAsync(
                () =>
                {
                    var began = Stopwatch.GetTimestamp();
                    for (var i = 0; i < piece.Result.Blocks && reason == MissReason.None; i++)
                        reason = Import(piece.First + i, piece.Blocks[i].Span);
                    ImportTime += Stopwatch.GetElapsedTime(began);
                },
                cancellationToken).ConfigureAwait(false);
            return reason;
        }

        private MissReason Import(int block, ReadOnlySpan<byte> bytes)
        {
            if (!owner.Form.Fits(bytes, block * owner.BlockTokens))
            {
                owner.LogForeign(prefix.Namespace.ToString(), block);
                return MissReason.Corrupt;
            }

            if (!owner._states.TryImport(sequence, bytes))
            {
                owner.LogNoRoom(block);
                return MissReason.Refused;
            }

            Blocks++;
            return MissReason.None;
        }

        private sealed record Piece(int First, NativeMemoryBlock Memory, Memory<byte>[] Blocks, LoadResult Result);
    }
}
