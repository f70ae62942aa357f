"""An LLM as expert: questions, replies in a store, and a patient client for any server with OpenAI's protocol."""
