"""Writes a llama model of random weights, the same ones in every block: llama_model.py FILE BLOCKS WIDTH"""

import sys

import gguf
import numpy as np

HEAD, CONTEXT = 64, 4096
BYTES = 256
RANDOM = np.random.default_rng(1)


def tokens():
    """Text and kind of each, as SentencePiece has them: three marks, and the bytes, of which every text is made."""
    kinds = gguf.TokenType
    marks = [("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)]
    return marks + [(f"<0x{byte:02X}>", kinds.BYTE) for byte in range(BYTES)]


def matrix(rows, columns):
    weights = RANDOM.standard_normal((rows, columns), dtype=np.float32) * 0.02
    return gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q8_0)


def tensors(blocks, width):
    """Name and data of each."""
    norm, vocabulary = np.ones(width, dtype=np.float32), matrix(len(tokens()), width)
    square, wide, narrow = matrix(width, width), matrix(4 * width, width), matrix(width, 4 * width)
    block = {f"attn_{name}": square for name in ("q", "k", "v", "output")}
    block |= {"ffn_gate": wide, "ffn_up": wide, "ffn_down": narrow, "attn_norm": norm, "ffn_norm": norm}
    yield from {"token_embd": vocabulary, "output": vocabulary, "output_norm": norm}.items()
    for number in range(blocks):
        for name, data in block.items():
            yield f"blk.{number}.{name}", data


def describe(writer, blocks, width):
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(4 * width)
    writer.add_head_count(width // HEAD)
    writer.add_head_count_kv(width // HEAD)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    texts, kinds = zip(*tokens())
    writer.add_tokenizer_model("llama")
    writer.add_token_list(texts)
    writer.add_token_scores([0.0] * len(texts))
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def main(path, blocks, width):
    writer = gguf.GGUFWriter(path, "llama")
    describe(writer, blocks, width)
    for name, data in tensors(blocks, width):
        quantized = data.dtype == np.uint8
        writer.add_tensor(f"{name}.weight", data, raw_dtype=gguf.GGMLQuantizationType.Q8_0 if quantized else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
