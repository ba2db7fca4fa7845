using KvCache.LLamaSharp.States;

namespace KvCache.LLamaTests;

/// <summary>States whose cells are not in the order of their positions, as where cells of an ended conversation are used again.</summary>
public sealed class BlockFormTests
{
    private const int Tokens = 4, First = 8;

    // Two layers; V of the second cache is transposed, with three elements of two bytes a token.
    private static readonly StateShape Shape = new(0x67677371, [
        new CacheShape(false, [new(1, 6, 0), new(1, 6, 0)], [new(8, 34, 0), new(8, 34, 0)]),
        new CacheShape(true, [new(1, 6, 0)], [new(1, 6, 2)]),
    ]);

    private static readonly BlockForm Form = new(Shape, Tokens);

    [Theory]
    [InlineData(0, 1, 2, 3)]
    [InlineData(3, 2, 1, 0)]
    [InlineData(2, 0, 3, 1)]
    public void Whatever_the_order_of_the_cells_it_is_the_same_block(params int[] order)
    {
        var sorted = State([0, 1, 2, 3], sequence: 0);

        var block = State(order, sequence: 5);
        Form.Normalize(block, First);

        Assert.Equal(Form.Bytes, block.Length);
        Assert.True(Form.Fits(block, First));
        Assert.Equal(sorted, block);
    }

    [Theory]
    [InlineData(0, 1, 1, 3)]
    [InlineData(0, 1, 2, 4)]
    [InlineData(-1, 0, 1, 2)]
    public void Other_positions_are_refused(params int[] order)
    {
        var block = State(order, sequence: 0);
        Form.Normalize(block, First);

        Assert.False(Form.Fits(block, First));
    }

    // As llama.cpp writes it: whatever belongs to a token stands where its cell does.
    private static byte[] State(int[] order, uint sequence)
    {
        using var bytes = new MemoryStream();
        using var writer = new BinaryWriter(bytes);
        writer.Write(Shape.Magic);
        writer.Write(sequence);
        byte matrixNumber = 0;
        foreach (var cache in Shape.Caches)
        {
            writer.Write(1u);
            writer.Write((uint)Tokens);
            foreach (var token in order)
            {
                writer.Write(First + token);
                writer.Write(1u);
                writer.Write(sequence);
            }

            writer.Write(cache.IsTransposed ? 1u : 0);
            writer.Write((uint)cache.Keys.Count);
            foreach (var matrix in cache.Keys.Concat(cache.Values))
            {
                matrixNumber++;
                writer.Write(matrix.Type);
                if (matrix.ElementBytes == 0)
                {
                    writer.Write(matrix.RowBytes);
                    foreach (var token in order)
                        writer.Write(Value(matrixNumber, token, 0, (int)matrix.RowBytes));
                    continue;
                }

                writer.Write(matrix.ElementBytes);
                writer.Write((int)matrix.RowBytes / matrix.ElementBytes);
                for (var column = 0; column < matrix.RowBytes / matrix.ElementBytes; column++)
                {
                    foreach (var token in order)
                        writer.Write(Value(matrixNumber, token, column, matrix.ElementBytes));
                }
            }
        }

        return bytes.ToArray();
    }

    private static byte[] Value(byte matrix, int token, int column, int bytes)
    {
        var value = new byte[bytes];
        for (var i = 0; i < bytes; i++)
            value[i] = (byte)((matrix * 64) + (token * 16) + (column * 4) + i);
        return value;
    }
}
